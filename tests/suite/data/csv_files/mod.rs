//! Tables in CSV files.

mod columns;
mod content;
mod header;
mod labels;
mod missing;
mod test_file;

use super::*;

fn parse(content: impl AsRef<[u8]>) -> Result<Dataset> {
    let folder = Folder::new()?;
    Ok(csv::read(folder.write("rows.csv", content)?)?)
}

/// The message for a content, after the file's name.
fn refusal(content: impl AsRef<[u8]>) -> Result<String> {
    let folder = Folder::new()?;
    let path = folder.write("rows.csv", content)?;
    Ok(text(csv::read(&path), &path))
}

#[test]
fn rows_come_back_plain_and_gzipped() -> Result<()> {
    let mut content = String::new();
    let data = digits();
    for (row, label) in data.features.chunks(data.width).zip(&data.labels) {
        let fields: Vec<String> = row.iter().map(|x| (x / 7.0).to_string()).collect();
        content += &format!("{},{label}\n", fields.join(","));
    }
    let folder = Folder::new()?;
    let plain = csv::read(folder.write("plain.csv", &content)?)?;
    let zipped = csv::read(folder.write("zipped.csv", gzip(content.as_bytes())?)?)?;
    assert_eq!(plain.labels, data.labels);
    assert!(plain.features.iter().zip(&data.features).all(|(found, x)| *found == x / 7.0));
    assert_eq!(plain, zipped);
    Ok(())
}

#[test]
fn blanks_quotes_line_ends_and_a_byte_order_mark_do_not_matter() -> Result<()> {
    let expected = parse("1,2,0\n3,4,1\n")?;
    for content in [
        "1,2,0\r\n3,4,1\r\n",
        "1,2,0\r3,4,1",
        " 1, 2,0 \n\n\n3,4 , 1",
        "\"1\",2,0\n3,\"4\",1\n",
        "\u{feff}1,2,0\n3,4,1\n",
        "1,2,0\n  \n3,4,1\n   ",
        "1,2,0\n3,4,1\n\t\n,,\n",
    ] {
        assert_eq!(parse(content)?, expected, "{content:?}");
    }
    Ok(())
}

#[test]
fn text_labels_are_numbered_in_their_order() -> Result<()> {
    let data = parse("x,species\n1,pine\n1,\"fir, white\"\n1,pine\n1,7\n")?;
    assert_eq!((data.labels, data.classes), (vec![2, 1, 2, 0], 3));
    assert_eq!(data.class_names, ["7", "fir, white", "pine"]);
    let (train, test) = parse("1,a\n2,a\n3,b\n4,b\n")?.split(0.5, 0)?;
    assert_eq!((train.class_names, test.class_names), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
    Ok(())
}

#[test]
fn every_refusal_names_file_line_and_column() -> Result<()> {
    let cases: &[(&str, &str)] = &[
        ("1,2,0\n1,0\n", ", line 2, column 3: 2 fields found, 3 expected as in the first line"),
        (
            "1,2,0\n1,\"2,0\n3,4,1\n",
            ", line 2, column 3: 2 fields found, 3 expected as in the first line; column 2 goes over several lines: is its quote closed?",
        ),
        ("1,2,0\n1,2,3,0\n", ", line 2, column 4: 4 fields found, 3 expected as in the first line"),
        ("a,b,c\n1,2,0\n1,two,1\n", ", line 3, column 2: 'two' stands in a column of numbers and is none"),
        (
            "1,2,0\n1,,1\n",
            ", line 2, column 2: the cell is empty; `missing` = drop leaves such rows out, mean fills in the mean of the column",
        ),
        (
            "1,2,0\nNaN,2,1\n",
            ", line 2, column 1: the cell 'NaN' stands for a missing value; `missing` = drop leaves such rows out, mean fills in the \
             mean of the column",
        ),
        ("1,inf,0\n", ", line 1, column 2: 'inf' is not a finite number"),
        ("1,1e39,0\n", ", line 1, column 2: '1e39' is beyond the numbers of single precision, which end at 3.4e38"),
        ("1,-1e300,0\n", ", line 1, column 2: '-1e300' is beyond the numbers of single precision, which end at 3.4e38"),
        ("1,1e999,0\n", ", line 1, column 2: '1e999' is beyond the numbers of single precision, which end at 3.4e38"),
        (
            "1\n2\n",
            ", line 1, column 1: 1 column found, at least 2 expected: features and the label, separated by commas (`delimiter`)",
        ),
        ("1,0\n1,\n", ", line 2, column 2: the label is empty; `missing` = drop leaves such rows out"),
        ("", ": the file is empty"),
        ("\n\n", ": the file is empty"),
        ("a,b\n", ": a header and no rows"),
    ];
    for (content, expected) in cases {
        assert_eq!(refusal(content)?, *expected, "{content:?}");
        assert_eq!(refusal(gzip(content.as_bytes())?)?, *expected, "{content:?}, gzipped");
    }
    Ok(())
}

#[test]
fn lines_are_counted_whatever_ends_them_and_blank_ones_too() -> Result<()> {
    for content in ["1,0\r\n2,0\r\n\r\nx,1\r\n", "1,0\n2,0\n\nx,1\n", "1,0\r2,0\r\rx,1\r", "\n1,0\n\rx,1"] {
        let expected = ", line 4, column 1: 'x' stands in a column of numbers and is none";
        assert_eq!(refusal(content)?, expected, "{content:?}");
    }
    let content = "a,b\n1,\"two\nlines\"\nx,1\n";
    assert_eq!(refusal(content)?, ", line 4, column 1: 'x' stands in a column of numbers and is none");
    Ok(())
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_place() -> Result<()> {
    assert_eq!(refusal(b"1,2,0\n\n1,\xff,0\n")?, ", line 3, column 2: not UTF-8 text");
    Ok(())
}

#[test]
fn every_member_of_a_gzip_is_read() -> Result<()> {
    assert_eq!(parse([gzip(b"1,0\n")?, gzip(b"2,1\n")?].concat())?, parse("1,0\n2,1\n")?);
    let found = refusal([gzip(b"1,0\n")?, b"2,1\n".to_vec()].concat())?;
    assert_eq!(found, ": damaged gzip: bytes after its end that are neither gzip nor zeros");
    Ok(())
}

#[test]
fn damaged_gzip_and_missing_files_are_named() -> Result<()> {
    let mut content = gzip(b"1,2,0\n")?;
    content.truncate(content.len() - 6);
    let found = refusal(content)?;
    assert!(found.starts_with(": damaged gzip: "), "{found}");
    let path = Path::new("no/such/file.csv");
    let found = text(csv::read(path), path);
    assert!(found.starts_with(": No such file") || found.contains("cannot find"), "{found}");
    Ok(())
}

/// The table that is read with these options.
fn table(content: &str, options: &Options) -> Result<Table> {
    Ok(options.read_from("rows.csv", content.as_bytes())?)
}

/// The message for a content with these options, after the stream's name.
fn refusal_with(content: &str, options: &Options) -> String {
    text(options.read_from("rows.csv", content.as_bytes()).and_then(Table::dataset), Path::new("rows.csv"))
}

fn target(text: &str) -> Options {
    Options { target: text.parse().ok(), ..Default::default() }
}

/// Rows with two numbers each and these labels.
fn labelled(labels: &[&str]) -> String {
    labels.iter().enumerate().map(|(i, label)| format!("{i}.5,2,{label}\n")).collect()
}

#[test]
fn two_thousand_mutations_never_panic() -> Result<()> {
    let folder = Folder::new()?;
    let content = b"a,b,c\n1.5,2,0\r\n\"3\",-4e2,1\n\n5,6,2\n";
    let (mut read, mut refused) = (0, 0);
    for seed in 0..2000 {
        let path = folder.write("rows.csv", mutate(content, seed))?;
        match csv::read(&path) {
            Ok(data) => {
                assert_eq!(data.check(), Ok(()));
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    Ok(())
}
