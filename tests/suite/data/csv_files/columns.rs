//! Which columns are features, and which one is the target.

use super::*;

const IRIS: &str = "width,length,species\n1,2,a\n3,4,b\n5,6,a\n";

fn features(content: &str, options: &Options) -> Result<(Vec<f32>, Vec<String>)> {
    let data = table(content, options)?.dataset()?;
    Ok((data.features, data.class_names))
}

#[test]
fn the_target_is_chosen_by_name_number_or_place() -> Result<()> {
    let last = (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec!["a".into(), "b".into()]);
    for name in ["species", "Species", "3", "last"] {
        assert_eq!(features(IRIS, &target(name))?, last, "{name}");
    }
    let first = "kind,a,b\n1,1,2\n0,3,4\n1,5,6\n";
    for name in ["kind", "1", "first"] {
        assert_eq!(features(first, &target(name))?, (last.0.clone(), vec!["0".into(), "1".into()]), "{name}");
        let bare = first.split_once('\n').map_or("", |(_, rows)| rows);
        if name != "kind" {
            assert_eq!(features(bare, &target(name))?, (last.0.clone(), vec!["0".into(), "1".into()]), "{name}");
        }
    }
    // A name of the header goes before a number.
    let numbers = "0,1,2,3\n9,1,2,5\n8,3,4,6\n";
    assert_eq!(table(numbers, &target("0"))?.reading().label, "column 1 '0'");
    assert_eq!(table(numbers, &target("4"))?.reading().label, "column 4 '3'");
    Ok(())
}

#[test]
fn a_target_that_is_not_there_names_the_nearest() -> Result<()> {
    assert_eq!(
        refusal_with(IRIS, &target("spieces")),
        ": no column 'spieces'; did you mean 'species'? (the header has 'width', 'length', 'species')"
    );
    assert_eq!(refusal_with(IRIS, &target("mass")), ": no column 'mass' (the header has 'width', 'length', 'species')");
    assert_eq!(refusal_with(IRIS, &target("4")), ": no column 4; there are 3, counted from 1");
    assert_eq!(refusal_with(IRIS, &target("0")), ": no column 0; there are 3, counted from 1");
    let expected = ": no column 'y': the first line is no header (see `header`); number columns from 1";
    assert_eq!(refusal_with("1,0\n2,1\n", &target("y")), expected);
    assert_eq!(refusal_with("a,a,b\n1,2,0\n3,4,1\n", &target("a")), ": 2 columns are called 'a': say which by its number");
    Ok(())
}

/// Images without a header whose label comes first: the last pixel is not the label.
#[test]
fn a_first_column_of_classes_is_not_passed_over_for_numbers() -> Result<()> {
    let rows = |label: &dyn Fn(usize) -> String, last: &dyn Fn(usize) -> String| -> String {
        (0..60).map(|i| format!("{},0.{i},{}\n", label(i), last(i))).collect()
    };
    let number = |i: usize| (i % 3).to_string();
    let letter = |i: usize| ["a", "b", "c"][i % 3].to_string();
    let pixel = |i: usize| if i < 50 { "0".into() } else { i.to_string() };
    let asked = |first: &str| format!(": which is the label, {first}? Say it with `target`");
    let three = "column 1, which looks like 3 classes, or the last, column 3";
    for last in [&pixel as &dyn Fn(usize) -> String, &|_| "0".into(), &|i| format!("{i}.5"), &|i| i.to_string()] {
        assert_eq!(refusal(rows(&number, last))?, asked(three));
        assert_eq!(refusal(rows(&letter, last))?, asked(three));
    }
    let named = format!("kind,x,z\n{}", rows(&number, &pixel));
    let first = "column 1 'kind', which looks like 3 classes, or the last, column 3 'z'";
    assert_eq!(refusal(&named)?, asked(first));
    assert_eq!(table(&named, &target("kind"))?.dataset()?.classes, 3);
    // The last column is the label if it is text, if it looks like classes, or if its name says so.
    assert_eq!(parse(rows(&number, &letter))?.classes, 3);
    assert_eq!(parse(rows(&number, &|i| (i % 2).to_string()))?.classes, 2);
    let label = format!("kind,x,y\n{}", rows(&number, &|i| (if i < 3 { 1 } else { 0 }).to_string()));
    assert_eq!(parse(label)?.classes, 2);
    // So it is where the first column has a rare value, too.
    let rare = |i: usize| (if i < 4 { 9 } else { i % 2 }).to_string();
    assert!(!refusal(rows(&rare, &|i| format!("{i}.5")))?.contains("which is the label"));
    Ok(())
}

/// The files in scikit-learn's own folder.
#[test]
fn a_line_of_counts_is_no_row_and_names_the_classes() -> Result<()> {
    let content = "4,2,iris,lily\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n";
    let read = table(content, &Options::default())?;
    assert!(read.reading().counts && !read.reading().header);
    let data = read.dataset()?;
    assert_eq!((data.rows(), data.class_names), (4, vec!["iris".into(), "lily".into()]));
    let broken = refusal("4,2,iris,lily\n1,2,0\n3,four,1\n5,6,0\n7,8,1\n")?;
    assert_eq!(broken, ", line 3, column 2: 'four' stands in a column of numbers and is none");
    // A first line with other counts is an ordinary row.
    for content in [content.replacen('4', "3", 1), content.replacen('2', "3", 1)] {
        assert!(refusal(content)?.contains("line 2, column 4: 3 fields found, 4 expected"));
    }
    // Names for other numbers are not used.
    let three = table(&content.replace(",1\n", ",2\n"), &Options::default())?;
    assert_eq!(three.dataset()?.class_names, ["0", "2"]);
    Ok(())
}

/// Kaggle's MNIST has its label first.
#[test]
fn a_column_that_is_called_label_elsewhere_is_not_passed_over() -> Result<()> {
    for name in ["label", "Class", "target", "Y"] {
        let content = format!("{name},p0,p1\n1,2,0\n0,4,1\n");
        let expected = format!(": which is the label, column 1 '{name}' or the last, column 3 'p1'? Say it with `target`");
        assert_eq!(refusal(&content)?, expected);
        assert_eq!(table(&content, &target(name))?.reading().label, format!("column 1 '{name}'"));
        assert_eq!(table(&content, &target("last"))?.reading().label, "column 3 'p1'");
    }
    assert_eq!(table("x,y,class\n1,2,0\n3,4,1\n", &Options::default())?.reading().label, "column 3 'class'");
    Ok(())
}

#[test]
fn columns_are_left_out() -> Result<()> {
    let ignore = |names: &[&str]| Options { ignore: names.iter().map(|name| name.to_string()).collect(), ..Default::default() };
    for names in [&["length"][..], &["2"], &["2", "LENGTH"]] {
        assert_eq!(features(IRIS, &ignore(names))?.0, [1.0, 3.0, 5.0], "{names:?}");
    }
    assert_eq!(table(IRIS, &ignore(&["length"]))?.reading().left_out, ["column 2 'length'"]);
    assert_eq!(refusal_with(IRIS, &ignore(&["width", "length"])), ": no column is left for features");
    assert_eq!(
        refusal_with(IRIS, &ignore(&["species"])),
        ": column 3 'species' is the label and cannot be left out: say with `target` which other column is"
    );
    assert_eq!(
        refusal_with(IRIS, &ignore(&["lenght"])).split(" (").next(),
        Some(": no column 'lenght'; did you mean 'length'?")
    );
    Ok(())
}

#[test]
fn an_index_without_a_name_is_left_out() -> Result<()> {
    for name in ["", "\"\"", "Unnamed: 0"] {
        // In order, and as a split of rows leaves it.
        for index in [[0, 1, 2], [1, 2, 3], [104, 7, 55]] {
            let [a, b, c] = index;
            let content = format!("{name},x,y\n{a},1,0\n{b},2,1\n{c},3,0\n");
            let table = table(&content, &Options::default())?;
            let called = if name.starts_with('U') { "column 1 'Unnamed: 0'" } else { "column 1" };
            let expected = format!("{called}, an index without a name, as pandas writes it,");
            assert_eq!(table.reading().left_out, [expected], "{content}");
            assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0], "{content}");
        }
    }
    assert_eq!(features(",x,y\n5,1,0\n5,2,1\n", &Options::default())?.0, [5.0, 1.0, 5.0, 2.0], "not distinct");
    Ok(())
}

#[test]
fn an_index_with_a_name_is_doubted() -> Result<()> {
    let rows: String = (1..=30).map(|i| format!("{i},2.5,{}\n", i % 2)).collect();
    let warnings = |content: &str| Ok::<_, anyhow::Error>(table(content, &Options::default())?.reading().warnings.clone());
    let doubt = "counts the rows: if it is an index and no feature, leave it out with `ignore`";
    assert_eq!(warnings(&format!("Id,x,kind\n{rows}"))?, [format!("column 1 'Id' {doubt}")]);
    assert_eq!(warnings(&rows)?, [format!("column 1 {doubt}")]);
    assert_eq!(warnings(&rows.replacen("1,", "3,", 1))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn texts_are_categories() -> Result<()> {
    let content = "sex,age,port,y\nmale,22,S,0\nfemale,38,C,1\nmale,26,Q,1\n";
    let table = table(content, &Options::default())?;
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let categories =
        [("column 1 'sex'".into(), texts(&["female", "male"])), ("column 3 'port'".into(), texts(&["C", "Q", "S"]))];
    assert_eq!(table.reading().categories, categories);
    let data = table.dataset()?;
    assert_eq!(data.width, 6);
    assert_eq!(data.features, [0., 1., 22., 0., 0., 1., 1., 0., 38., 1., 0., 0., 0., 1., 26., 0., 1., 0.]);
    let names: String = (0..30).map(|i| format!("name {i},{i},{}\n", i % 2)).collect();
    let expected = ": column 1 has 30 different texts in 30 rows, which are no categories: leave it out with `ignore`";
    assert_eq!(refusal(&names)?, expected);
    Ok(())
}

#[test]
fn a_column_without_values_is_named() -> Result<()> {
    let mean = Options { missing: Missing::Mean, ..Default::default() };
    let expected = ": column 2 'b' has no value in any row: leave it out with `ignore`";
    assert_eq!(refusal_with("a,b,c\n1,,0\n2,NA,1\n", &mean), expected);
    let no_label = "the label, has no value in any row.";
    let say = "Say with `target` which column is the label";
    let expected = format!(": column 3, {no_label} Do the lines end with a delimiter? {say}");
    let drop = Options { missing: Missing::Drop, ..Default::default() };
    for options in [&Options::default(), &mean, &drop] {
        assert_eq!(refusal_with("1,0,\n2,1,\n", options), expected);
    }
    assert_eq!(refusal_with("a,b\n,1\n,2\n", &target("a")), format!(": column 1 'a', {no_label} {say}"));
    let none = ": all 2 rows have a missing cell, so `missing` = drop leaves none";
    assert_eq!(refusal_with("NA,0\n2,NA\n", &drop), none);
    Ok(())
}

#[test]
fn a_decimal_comma_is_named() -> Result<()> {
    let point = "numbers are written with a point (5.1), and without a mark for thousands";
    let expected = format!(", line 2, column 1: '5,1' has a decimal comma; {point}");
    assert_eq!(refusal("a;b;c\n5,1;3;0\n4,9;2;1\n")?, expected);
    assert_eq!(refusal("5,1;3,5;0\n4,9;2,5;1\n")?, expected.replace("line 2", "line 1"));
    assert_eq!(refusal("a,b\n\"5,1\",0\n\"4,9\",1\n")?, expected);
    let later = refusal("a;b\n1;0\n2;1\n\n5,1;0\n")?;
    assert_eq!(later, expected.replace("line 2", "line 5"));
    Ok(())
}

#[test]
fn the_delimiter_is_guessed_or_given() -> Result<()> {
    let rows = "a,b,kind\n1,2,x\n3,4,y\n";
    for delimiter in [',', ';', '\t'] {
        let content = rows.replace(',', &delimiter.to_string());
        let table = table(&content, &Options::default())?;
        assert_eq!(table.reading().delimiter, delimiter);
        assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
    }
    let bar = Options { delimiter: Some(b'|'), ..Default::default() };
    assert_eq!(table(&rows.replace(',', "|"), &bar)?.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
    // One blank or more, tabs among them.
    let blanks = "\n a  b   kind\n1\t 2 x \n  3 4 y\n";
    for options in [Options::default(), Options { delimiter: Some(b' '), ..Default::default() }] {
        let table = table(blanks, &options)?;
        assert_eq!((table.reading().delimiter, table.reading().label.as_str()), (' ', "column 3 'kind'"));
        assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
    }
    assert_eq!(parse("1 2 \"a  b\"\n3 4 c\n")?.class_names, ["a  b", "c"]);
    assert!(refusal("1 2 x\n3 four y\n5 6 x\n")?.starts_with(", line 2, column 2: "));
    assert_eq!(parse("a b,kind\n1,x\n2,y\n")?.class_names, ["x", "y"]);
    // Commas and semicolons within cells.
    assert_eq!(parse("1,2,a;b\n3,4,c;d\n")?.class_names, ["a;b", "c;d"]);
    assert_eq!(parse("1;2;\"a, b\"\n3;4;\"c, d\"\n")?.class_names, ["a, b", "c, d"]);
    assert_eq!(parse("1,2,\"a;b\"\n3,4,c\n")?.class_names, ["a;b", "c"]);
    Ok(())
}
