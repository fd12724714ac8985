//! A test file beside a training file.

use super::*;

const TRAIN: &str = "a,port,kind\n1,S,x\n3,C,y\n5,S,x\n";

fn joined(train: &str, test: &str, options: &Options) -> Result<(Dataset, Dataset, csv::Reading)> {
    let folder = Folder::new()?;
    let path = folder.write("test.csv", test)?;
    Ok(table(train, options)?.with_test(path, options)?)
}

#[test]
fn it_has_the_columns_and_classes_of_the_training_file() -> Result<()> {
    let (train, test, _) = joined(TRAIN, "kind,port,b,a\ny,S,0,7\ny,C,0,8\n", &target("kind"))?;
    assert_eq!(train.features, [1.0, 0.0, 1.0, 3.0, 1.0, 0.0, 5.0, 0.0, 1.0]);
    assert_eq!((test.features, test.labels), (vec![7.0, 0.0, 1.0, 8.0, 1.0, 0.0], vec![1, 1]));
    assert_eq!((test.classes, test.class_names), (2, vec!["x".into(), "y".into()]));
    let (_, test, _) = joined("1,2,0\n3,4,1\n", "5,6,1\n", &Options::default())?;
    assert_eq!((test.features, test.labels), (vec![5.0, 6.0], vec![1]));
    Ok(())
}

#[test]
fn what_it_lacks_or_has_beyond_is_named() -> Result<()> {
    let refused = |train: &str, test: &str| {
        joined(train, test, &target("last")).map_or_else(|error| error.to_string(), |_| "no error".into())
    };
    let cases = [
        (TRAIN, "a,port\n1,S\n", "line 1, column 1: the header has no column 'kind', which rows.csv has"),
        (TRAIN, "a,port,kind\n1,S,z\n", "line 2, column 3: the label 'z' is not among the training labels 'x', 'y'"),
        (
            TRAIN,
            "1,S,x\n",
            "line 1, column 1: this line names none of the columns of rows.csv: a header is expected, as that has one",
        ),
        (TRAIN, "a,port,kind\nfour,S,x\n", "line 2, column 1: 'four' is not a number"),
        (TRAIN, "a,port,kind\n", "no rows"),
        ("1,2,0\n3,4,1\n", "1,2,0,1\n", "line 1, column 4: 4 fields found, 3 expected as in rows.csv"),
    ];
    for (train, test, expected) in cases {
        let found = refused(train, test);
        assert!(found.ends_with(expected), "{found}");
    }
    Ok(())
}

#[test]
fn unknown_texts_count_for_none_and_gaps_get_the_training_mean() -> Result<()> {
    let mean = Options { missing: Missing::Mean, ..Default::default() };
    let (_, test, reading) = joined(TRAIN, "a,port,kind\n,S,x\n4,Q,y\n", &mean)?;
    assert_eq!(test.features, [3.0, 0.0, 1.0, 4.0, 0.0, 0.0]);
    assert_eq!(reading.filled, 1);
    assert_eq!(reading.warnings, ["1 cell has a text that no training row has, and counts for none"]);
    Ok(())
}
