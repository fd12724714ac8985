//! What the bytes of a file may be.

use super::*;

#[test]
fn zeros_after_a_gzip_are_no_damage() -> Result<()> {
    let expected = parse("1,0\n2,1\n")?;
    for zeros in [1, 7, 512, 200_000] {
        let padded = [gzip(b"1,0\n")?, vec![0; zeros], gzip(b"2,1\n")?, vec![0; zeros]].concat();
        assert_eq!(parse(padded)?, expected, "{zeros}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_table_is_an_error() -> Result<()> {
    let cases: [(&[u8], &str); 6] = [
        (b"1,0\n2,\0\n", "binary data"),
        (&[0; 100], "binary data"),
        (b"PK\x03\x04abc", "a ZIP archive or a spreadsheet"),
        (b"\xff\xfe1\0,\0", "UTF-16, which can be saved as UTF-8"),
        (b"PAR1abc", "a Parquet file"),
        (b"\0\0\x08\x03\0\0\0\x01", "an IDX file, which is read with its folder"),
    ];
    for (content, what) in cases {
        assert_eq!(refusal(content)?, format!(": {what}, where the text of a table is expected"));
    }
    Ok(())
}

/// Reading an endless stream stops after the allowed bytes.
#[test]
fn no_more_is_held_than_is_allowed() {
    struct Endless(usize);
    impl std::io::Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 += into.len();
            assert!(self.0 < 2_000_000, "it goes on reading");
            into.iter_mut().zip(b"1,2,0\n".iter().cycle()).for_each(|(to, from)| *to = *from);
            Ok(into.len() - into.len() % 6)
        }
    }
    let options = Options { max_memory: 1_000_000, ..Default::default() };
    let error = options.read_from("rows.csv", Endless(0)).unwrap_err().to_string();
    assert_eq!(error, "rows.csv: the content is larger than 1000000 bytes, which is `max_memory`");
    let zeros = options.read_from("rows.csv", std::io::repeat(0)).unwrap_err().to_string();
    assert!(zeros.starts_with("rows.csv: binary data"), "{zeros}");
}

#[test]
fn text_and_features_together_stay_within_what_is_allowed() -> Result<()> {
    let content = labelled(&["0", "1", "0", "1"]);
    let needed = content.len() as u64 + 4 * 2 * 4;
    let with = |max_memory| Options { max_memory, ..Default::default() };
    assert!(table(&content, &with(needed)).is_ok());
    let expected = format!(": text and features take {needed} bytes of memory, {} are allowed (`max_memory`)", needed - 1);
    assert_eq!(refusal_with(&content, &with(needed - 1)), expected);
    Ok(())
}

/// A cell of a hundred kilobytes, and characters that control a terminal.
#[test]
fn cells_are_quoted_escaped_and_cut() -> Result<()> {
    let cell = "\u{1b}[2J".to_string() + &"x".repeat(100_000);
    let found = refusal(format!("a,b\n1,0\n2,1\n{cell},0\n"))?;
    let shown = format!("'\\u{{1b}}[2J{}…'", "x".repeat(36));
    assert_eq!(found, format!(", line 4, column 1: {shown} stands in a column of numbers and is none"));
    for found in [refusal(format!("a,b\n1,0\n2,{cell}\n3,0\n"))?, refusal_with("a,b\n1,0\n2,1\n", &target(&cell))] {
        assert!(found.contains(&shown) && found.len() < 200 && !found.contains('\u{1b}'), "{found}");
    }
    Ok(())
}
