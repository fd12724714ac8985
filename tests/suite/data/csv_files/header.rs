//! First lines that name columns, and those that do not.

use super::*;

fn is_header(content: &str) -> Result<bool> {
    Ok(table(content, &Options::default())?.reading().header)
}

#[test]
fn it_is_what_does_not_fit_the_rows_below() -> Result<()> {
    let header = [
        "a,b\n1,0\n2,1\n",
        // pandas' names of columns without names.
        "0,1,2,3,y\n5.1,3.5,1.4,0.2,0\n6.2,3.4,5.4,2.3,1\n",
        "0,1,2,3,species\n5.1,3.5,1.4,0.2,a\n6.2,3.4,5.4,2.3,b\n",
        "0,1,2,3,4\n5.1,3.5,1.4,0.2,0\n6.2,3.4,5.4,2.3,1\n",
        ",0,1,2,y\n0,5.1,3.5,1.4,0\n1,6.2,3.4,5.4,1\n",
        "0,y\n5,0\n6,1\n",
        // Years and a word; wavelengths and a word that names a label.
        "1990,2000,2010,kind\n1,2,3,0\n4,5,6,1\n",
        "350.5,351,351.5,class\n1,2,3,a\n4,5,6,b\n",
        // Text alone.
        "shape,odor,class\nflat,none,e\nflat,foul,p\nbell,none,e\n",
        // Where a cell is missing, the others decide.
        "NA,b,c\n1,2,0\n3,4,1\n",
    ];
    for content in header {
        assert!(is_header(content)?, "{content:?}");
    }
    let rows = [
        "0.5,0\n1,1\n",
        "0,0,0\n0,1,1\n1,0,1\n1,1,0\n",
        "1,2,0\n3,4,1\n",
        "1,2,3\n4,5,6\n",
        "5.1,3.5,setosa\n6.2,3.4,pine\n",
        "flat,none,e\nflat,foul,p\nbell,none,e\n",
    ];
    for content in rows {
        assert!(!is_header(content)?, "{content:?}");
    }
    Ok(())
}

/// A first row with a missing cell is a row.
#[test]
fn a_missing_cell_makes_no_header() -> Result<()> {
    for cell in ["NA", "", "?", "NaN", "null"] {
        let content = format!("{cell},3.5,a\n6.2,3.4,b\n5,3,a\n");
        let drop = Options { missing: Missing::Drop, ..Default::default() };
        let table = table(&content, &drop)?;
        assert_eq!((table.reading().header, table.reading().dropped), (false, 1), "{cell}");
        assert!(refusal_with(&content, &Options::default()).starts_with(", line 1, column 1: the cell "), "{cell}");
    }
    Ok(())
}

#[test]
fn a_line_in_doubt_is_not_guessed() -> Result<()> {
    let doubt = "is text over a column of numbers, and numbers stand beside it: is this line a header? Say it with `header`, \
                 yes or no";
    assert_eq!(refusal("0.5,x,0\n1,2,1\n")?, format!(", line 1, column 2: 'x' {doubt}"));
    assert_eq!(refusal("5,x,3,0\n1,2,4,1\n")?, format!(", line 1, column 2: 'x' {doubt}"));
    let counts = "1,2,3,4\n0,1,2,3\n5,5,5,3\n";
    assert!(!is_header(counts)?);
    let found = refusal("0,1,2,3\n5,6,7,3\n5,6,7,4\n")?;
    assert!(found.starts_with(", line 1, column 4: '3' is the last of a line that counts its columns"), "{found}");
    // A label that other rows have too shows that the line is a row, with a mistake in it.
    assert_eq!(refusal("0.5,x,a\n1,2,b\n3,4,a\n")?, ", line 1, column 2: 'x' stands in a column of numbers and is none");
    Ok(())
}

#[test]
fn the_header_option_overrides_the_guess() -> Result<()> {
    let say = |header| Options { header, ..Default::default() };
    assert_eq!(table("0.5,x,0\n1,2,1\n3,4,0\n", &say(Header::Yes))?.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
    let rows = table("0,1,2,y\n1,2,3,a\n1,2,3,a\n", &say(Header::No))?.dataset()?;
    assert_eq!((rows.rows(), rows.class_names), (3, vec!["a".into(), "y".into()]));
    assert_eq!(
        refusal_with("a,b\n1,0\n2,1\n", &say(Header::No)),
        ", line 1, column 1: 'a' stands in a column of numbers and is none"
    );
    Ok(())
}

#[test]
fn a_first_label_that_is_alone_is_doubted() -> Result<()> {
    let labels: Vec<&str> = ["kind"].into_iter().chain((0..24).map(|i| ["a", "b"][i % 2])).collect();
    let table = table(&labelled(&labels), &Options::default())?;
    let expected = "the first line alone has the label 'kind': if it is a header, say so with `header`";
    assert_eq!(table.reading().warnings, [expected]);
    Ok(())
}
