//! Labels: classes, and numbers to learn.

use super::*;

fn classes(labels: &[&str]) -> Result<(Vec<u32>, Vec<String>)> {
    let data = parse(labelled(labels))?;
    assert_eq!(data.classes, data.class_names.len());
    Ok((data.labels, data.class_names))
}

#[test]
fn they_are_values_in_order_and_keep_their_names() -> Result<()> {
    let table: [(&[&str], &[u32], &[&str]); 6] = [
        (&["3.0", "0", "1e0", "3"], &[2, 0, 1, 2], &["0", "1", "3"]),
        (&["65535", "0", "0"], &[1, 0, 0], &["0", "65535"]),
        (&["1", "2", "3"], &[0, 1, 2], &["1", "2", "3"]),
        (&["-1", "1", "+1"], &[0, 1, 1], &["-1", "1"]),
        (&["10", "9", "007"], &[2, 1, 0], &["7", "9", "10"]),
        // Integers come before texts, by value.
        (&["4 or more", "3", "20", "3", "4 or more"], &[2, 0, 1, 0, 2], &["3", "20", "4 or more"]),
    ];
    for (labels, numbers, names) in table {
        assert_eq!(classes(labels)?, (numbers.to_vec(), names.iter().map(|name| name.to_string()).collect()), "{labels:?}");
    }
    Ok(())
}

#[test]
fn a_missing_label_is_refused_by_its_line() -> Result<()> {
    for word in ["NA", "na", "N/A", "NaN", "nan", "-nan", "null", "NULL", "?", "<NA>"] {
        let drop = "`missing` = drop leaves such rows out";
        let expected = format!(", line 3, column 3: the label '{word}' stands for a missing value; {drop}");
        assert_eq!(refusal(labelled(&["0", "1", word, "2"]))?, expected, "{word}");
        assert_eq!(refusal(labelled(&["a", "b", word, "c"]))?, expected, "{word}");
        let dropped = Options { missing: Missing::Drop, ..Default::default() };
        let table = table(&labelled(&["0", "1", word, "2"]), &dropped)?;
        assert_eq!((table.reading().dropped, table.dataset()?.class_names.len()), (1, 3), "{word}");
    }
    // Sodium, and the worst of three grades.
    assert_eq!(classes(&["Na", "none", "Na"])?.1, ["Na", "none"]);
    Ok(())
}

#[test]
fn a_slip_among_numbers_is_refused() -> Result<()> {
    let expected = ", line 3, column 3: the label 'l' is no number, as those of 3 other rows are";
    assert_eq!(refusal(labelled(&["0", "1", "l", "1"]))?, expected);
    Ok(())
}

#[test]
fn one_class_is_nothing_to_learn() -> Result<()> {
    let expected = ": column 3 has the label '7' in all 3 rows, so nothing is to be told apart: is it the label? Say which with \
                    `target`: a name, a number from 1, first or last";
    assert_eq!(refusal(labelled(&["7", "7.0", "7"]))?, expected);
    assert_eq!(
        refusal(format!("a,b,kind\n{}", labelled(&["x"])))?,
        expected.replace("'7' in all 3 rows", "'x' in the only row").replace("column 3", "column 3 'kind'")
    );
    Ok(())
}

#[test]
fn a_quantity_is_told_from_classes() -> Result<()> {
    let quantities: Vec<String> = (0..40).map(|i| (i * i % 13 + 100).to_string()).collect();
    let refs = |labels: &[String]| labelled(&labels.iter().map(String::as_str).collect::<Vec<_>>());
    let regression = "To learn numbers (regression), say `learn` = numbers; to learn classes, make a few ranges of them, or \
                      say with `target` which column is the label";
    // Seven remainders of squares are few; eleven numbers in forty rows are not.
    assert_eq!(parse(refs(&quantities))?.classes, 7);
    let many: Vec<String> = (0..54).map(|i| (i % 11).to_string()).collect();
    let few = "more than 10 numbers are classes if each has 20 rows on average, or all have the same number, 5 or more";
    let text = "Numbers that are names of classes all the same can be written as text, such as c1";
    let why = format!("not like classes: {few}. {regression}. {text}");
    let expected = format!(": column 3 has 11 different numbers in 54 rows, which looks like a quantity, {why}");
    assert_eq!(refusal(refs(&many))?, expected);
    let counted = |rows: usize, classes: usize| -> Vec<String> { (0..rows).map(|i| (i % classes).to_string()).collect() };
    // Like the diabetes data of scikit-learn in 49 steps; like its 40 faces; like letters.
    assert!(refusal(refs(&counted(442, 49)))?.contains("column 3 has 49 different numbers in 442 rows"));
    assert!(refusal(refs(&counted(44, 11)))?.contains("column 3 has 11 different numbers in 44 rows"));
    for (rows, classes) in [(55, 11), (400, 40), (521, 26)] {
        assert_eq!(parse(refs(&counted(rows, classes)))?.classes, classes);
    }
    assert!(refusal(refs(&counted(519, 26)))?.contains("column 3 has 26 different numbers in 519 rows"));
    let named: Vec<String> = counted(442, 49).into_iter().map(|number| format!("c{number}")).collect();
    assert_eq!(parse(refs(&named))?.classes, 49);
    let ids: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    let expected = format!(
        ": column 3 has a different number in each of the 30 rows, which looks like an identifier or a quantity, {why}"
    );
    assert_eq!(refusal(refs(&ids))?, expected);
    let expected = format!(
        ", line 2, column 3: the label '0.5' is a fraction, so the column looks like a quantity, not like classes. {regression}"
    );
    assert_eq!(refusal(labelled(&["0", "0.5", "1"]))?, expected);
    assert_eq!(refusal(labelled(&["0", "inf", "1"]))?, ", line 2, column 3: the label 'inf' is not an integer");
    Ok(())
}

#[test]
fn numbers_are_learned_where_it_is_said_or_seen() -> Result<()> {
    let read = |labels: &[&str], learn: Learn| {
        let read = table(&labelled(labels), &Options { learn, ..Default::default() });
        read.and_then(|table| Ok((table.form(), table.dataset()?)))
    };
    let said = |labels: &[&str], learn| read(labels, learn).map(|(_, data)| (data.targets, data.labels));
    for learn in [Learn::Numbers, Learn::Auto] {
        let (form, data) = read(&["0", "0.5", "-2e3"], learn)?;
        assert_eq!((&data.targets[..], data.target_width, data.classes), (&[0.0, 0.5, -2000.0][..], 1, 0));
        assert!(form.classes.is_empty() && data.labels.is_empty() && data.class_names.is_empty());
        // Rows of another file have numbers of their own.
        let (rows, _) = form.rows_from("b.csv", "1,2,7\n3,4,7\n".as_bytes(), &[0.0; 2], &Options::default())?;
        assert_eq!((rows.targets, rows.features), (vec![7.0, 7.0], vec![1.0, 2.0, 3.0, 4.0]));
    }
    assert_eq!(said(&["1", "0", "1"], Learn::Numbers)?, (vec![1.0, 0.0, 1.0], vec![]));
    assert_eq!(said(&["1", "0", "1"], Learn::Auto)?, (vec![], vec![1, 0, 1]));
    // Thirty different numbers are a quantity, unless they just count the rows.
    let squares: Vec<String> = (0..30).map(|i| (i * i).to_string()).collect();
    let counts: Vec<String> = (5..35).map(|i| i.to_string()).collect();
    let auto = |texts: &[String]| said(&texts.iter().map(String::as_str).collect::<Vec<_>>(), Learn::Auto);
    assert_eq!(auto(&squares)?.0.len(), 30);
    let error = auto(&counts).expect_err("an identifier").to_string();
    assert!(error.contains("looks like an identifier or a quantity"), "{error}");
    for (labels, says) in [
        (["1", "x", "2"], ", line 2, column 3: the label 'x' is not a finite number of single precision"),
        (["1", "1e39", "2"], ", line 2, column 3: the label '1e39' is not a finite number of single precision"),
        (["7", "7", "7"], ": column 3 is 7 in all 3 rows, so nothing is to be predicted"),
    ] {
        let error = said(&labels, Learn::Numbers).expect_err("no numbers").to_string();
        assert!(error.ends_with(says), "{error}");
    }
    Ok(())
}

#[test]
fn one_row_per_class_cannot_be_split() -> Result<()> {
    let error = |labels: &[&str]| {
        table(&labelled(labels), &Options::default()).map(|table| text(table.split(0.2, 1), Path::new("rows.csv")))
    };
    assert_eq!(
        error(&["a", "b", "c"])?,
        ": every class has one row: is column 3 an identifier? Say with `target` which column is the label; the test part of 3 \
         rows at test_fraction = 0.2 is empty"
    );
    let found = error(&["a", "b", "b"])?;
    assert!(found.starts_with(": too few rows: no class has more than 2, of which 0.2 for testing"), "{found}");
    Ok(())
}

#[test]
fn odd_labels_are_warned_of() -> Result<()> {
    let warnings =
        |labels: &[&str]| Ok::<_, anyhow::Error>(table(&labelled(labels), &Options::default())?.reading().warnings.clone());
    assert_eq!(warnings(&["Setosa", "setosa", "x"])?, ["the classes 'Setosa' and 'setosa' differ only in case"]);
    let mut rare = vec!["0"; 39];
    rare.push("1");
    assert_eq!(warnings(&rare)?, ["98 % of the rows have the label '0': is it in another column? Say which with `target`"]);
    assert_eq!(warnings(&["a", "b", "a"])?, Vec::<String>::new());
    Ok(())
}
