//! The form of a table's columns, by which rows of other files are read.

use thalweg::data::csv::{Form, Header, Missing, Options, Target};
use thalweg::{Error, Result};

const TABLE: &str = "colour,size,class,left\nred,1,b,x\nblue,2,a,y\nred,,b,x\ngreen,4,a,y\n";

fn options() -> Options {
    Options {
        missing: Missing::Mean,
        ignore: vec!["left".into()],
        target: Some("class".parse().expect("a column")),
        ..Options::default()
    }
}

fn form() -> Result<Form> {
    Ok(options().read_from("table.csv", TABLE.as_bytes())?.form())
}

/// Means of the features blue, green, red, size.
const MEANS: [f32; 4] = [0.25, 0.25, 0.5, 7.0];

#[test]
fn rows_of_another_file_become_features_as_the_first_did() -> Result<()> {
    let form = form()?;
    assert_eq!((form.columns, form.label, form.width()), (4, 2, 4));
    assert_eq!(form.classes, ["a", "b"]);
    assert_eq!(form.features, [(0, vec!["blue".into(), "green".into(), "red".into()]), (1, vec![])]);
    // Columns in another order, one more, a colour that is not known, a size that is missing.
    let text = "size,more,class,colour\n3,1,b,green\n,2,a,pink\n";
    let (data, reading) = form.rows_from("b.csv", text.as_bytes(), &MEANS, &options())?;
    assert_eq!(data.features, [0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 7.0]);
    assert_eq!((data.labels, data.classes, data.class_names), (vec![1, 0], 2, vec!["a".into(), "b".into()]));
    assert_eq!(reading.filled, 1);
    // Rows of a single class cannot be trained on, but they can be evaluated.
    let (data, _) = form.rows_from("b.csv", "colour,size,class\nred,1,b\n".as_bytes(), &MEANS, &options())?;
    assert_eq!(data.labels, [1]);
    let (features, rows) = form.features_from("b.csv", "colour,size\nred,1\nblue,5\n".as_bytes(), &MEANS, &options())?;
    assert_eq!((&features[..], rows), (&[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 5.0][..], vec![0, 1]));
    // The label column is not read, whatever it holds.
    let (same, _) = form.features_from("b.csv", "colour,size,class\nred,1,?\nblue,5,new\n".as_bytes(), &MEANS, &options())?;
    assert_eq!(same, features);
    let drop = Options { missing: Missing::Drop, ..options() };
    assert_eq!(form.features_from("b.csv", "colour,size\nred,\nblue,5\n".as_bytes(), &MEANS, &drop)?.1, [1]);
    Ok(())
}

#[test]
fn a_table_without_a_header_may_lack_its_label() -> Result<()> {
    let options = Options { target: Some(Target::First), header: Header::No, ..Options::default() };
    let form = options.read_from("a.csv", "0,1,2\n1,3,4\n".as_bytes())?.form();
    assert_eq!(form.header, None);
    let of = |text: &str| form.features_from("b.csv", text.as_bytes(), &[0.0; 2], &Options::default());
    assert_eq!(of("0,5,6\n")?, (vec![5.0, 6.0], vec![0]));
    assert_eq!(of("5,6\n")?, (vec![5.0, 6.0], vec![0]));
    let error = of("5\n").expect_err("too few").to_string();
    assert!(
        error.contains("1 fields found, 3 expected as in the table of the model, or one fewer without the label"),
        "{error}"
    );
    let one = options.read_from("a.csv", "0,1\n1,3\n".as_bytes())?.form();
    assert_eq!(one.features_from("b.csv", "5\n6\n".as_bytes(), &[0.0], &options)?, (vec![5.0, 6.0], vec![0, 1]));
    assert!(form.rows_from("b.csv", "5,6\n".as_bytes(), &[0.0; 2], &Options::default()).is_err(), "labels are wanted");
    Ok(())
}

#[test]
fn files_that_do_not_fit_are_refused() -> Result<()> {
    let form = form()?;
    let refused = |text: &str, expected: &str| {
        let error = form.rows_from("b.csv", text.as_bytes(), &MEANS, &options()).expect_err(expected);
        assert!(matches!(error, Error::File { .. } | Error::Parse { .. }) && error.to_string().contains(expected), "{error}");
    };
    refused("colour,class\nred,a\n", "size");
    refused("colour,size\nred,1\n", "class");
    refused("colour,size,class\nred,1,c\n", "not among the training labels");
    refused("colour,size,class\nred,one,a\n", "is not a number");
    refused("colour,size,class\n", "no rows");
    refused("", "empty");
    let strict = Options::default();
    let error = form.features_from("b.csv", "colour,size\nred,\n".as_bytes(), &MEANS, &strict).expect_err("a hole").to_string();
    assert!(error.contains("`missing` = drop"), "{error}");
    Ok(())
}
