//! Folds against scikit-learn's own (tests/golden/folds.jsonl, written by tests/golden/folds.py), and data that cannot be cut.

use serde_json::Value;
use thalweg::data::{Dataset, Fold, KFold};

use crate::common::golden_lines;

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().expect("an array").iter().map(|x| x.as_u64().expect("a number") as usize).collect()
}

fn split(case: &Value) -> Vec<Fold> {
    let number = |name: &str| case[name].as_u64().expect("a number") as usize;
    let seed = case["seed"].as_u64().map(|seed| seed as u32);
    let folds = KFold { folds: number("folds"), shuffle: seed, repeats: number("repeats") };
    let split = match case["kind"].as_str().expect("a kind") {
        "plain" => folds.split(number("rows")),
        "stratified" => folds.stratified_loosely(&numbers(&case["labels"])),
        "grouped" => folds.grouped(&numbers(&case["groups"])),
        "both" => folds.stratified_grouped_loosely(&numbers(&case["labels"]), &numbers(&case["groups"])),
        other => panic!("{other} is no kind"),
    };
    split.unwrap_or_else(|error| panic!("{error} in {case}"))
}

#[test]
fn folds_are_those_of_scikit_learn() {
    let cases = golden_lines("folds");
    assert_eq!(cases.len(), 159);
    for case in cases {
        let expected: Vec<Vec<usize>> = case["validation"].as_array().expect("folds").iter().map(numbers).collect();
        let found = split(&case);
        let validation: Vec<Vec<usize>> = found.iter().map(|fold| fold.validation.clone()).collect();
        assert_eq!(validation, expected, "{case}");
        let rows: usize = expected[..found.len() / case["repeats"].as_u64().unwrap() as usize].iter().map(Vec::len).sum();
        for fold in found {
            let mut all = [fold.train, fold.validation].concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
    }
}

#[test]
fn names_are_labels_as_numbers_are() {
    let folds = KFold { folds: 2, shuffle: Some(3), ..Default::default() };
    let names = ["cat", "dog", "cat", "ant", "dog", "ant", "cat", "dog", "ant"];
    let numbers = [1, 2, 1, 0, 2, 0, 1, 2, 0];
    assert_eq!(folds.stratified(&names), folds.stratified(&numbers));
    assert_eq!(folds.grouped(&names), folds.grouped(&numbers));
}

#[test]
fn invalid_folds_are_errors() {
    let refused = |folds: KFold, rows: usize| folds.split(rows).unwrap_err().to_string();
    let plain = KFold::default();
    assert_eq!(refused(plain.clone(), 4), "folds = 5 is out of range: 2 to 4, the number of rows");
    assert_eq!(refused(KFold { folds: 1, ..plain.clone() }, 4), "folds = 1 is out of range: 2 to 4, the number of rows");
    assert_eq!(refused(KFold { repeats: 0, ..plain.clone() }, 9), "repeats = 0 is out of range: at least 1");
    assert_eq!(
        refused(KFold { repeats: 2, ..plain.clone() }, 9),
        "repeats = 2 is out of range: 1 without shuffle, as all repeats would be the same"
    );
    assert_eq!(
        plain.grouped(&[1, 1, 2, 2, 3, 3]).unwrap_err().to_string(),
        "folds = 5 is out of range: 2 to 3, the number of groups"
    );
    let rare = [0, 0, 0, 0, 0, 7, 7];
    assert_eq!(
        plain.stratified(&rare).unwrap_err().to_string(),
        "folds = 5 is out of range: at most 2, the rows of class 7, which would be absent from a fold"
    );
    assert_eq!(plain.stratified_loosely(&rare).unwrap().len(), 5);
    assert_eq!(
        plain.stratified_loosely(&[0, 0, 1, 1, 2, 2]).unwrap_err().to_string(),
        "folds = 5 is out of range: at most 2, the rows of the most frequent class"
    );
    let both = KFold { folds: 2, ..Default::default() };
    assert_eq!(
        both.stratified_grouped(&[0, 0, 1, 1, 1], &["a", "b", "c", "c", "c"]).unwrap_err().to_string(),
        "folds = 2 is out of range: fewer: class 1 is absent from fold 1"
    );
    assert_eq!(
        both.stratified_grouped(&[0, 1], &[0]).unwrap_err().to_string(),
        "groups: 1 found, 2, one for each label expected"
    );
    assert_eq!(
        plain.stratified_grouped(&[0; 9], &[1, 1, 1, 2, 2, 2, 3, 3, 3]).unwrap_err().to_string(),
        "folds = 5 is out of range: 2 to 3, the number of groups"
    );
    assert!(plain.stratified::<u32>(&[]).is_err() && plain.grouped::<u32>(&[]).is_err());
}

#[test]
fn rows_of_a_fold_are_a_data_set() {
    let names = vec!["a".to_string(), "b".to_string(), "c".to_string()];
    let whole =
        Dataset { classes: 3, class_names: names, ..Dataset::new(vec![0.0, 1.0, 2.0, 3.0], 1, vec![0, 1, 0, 1]).unwrap() };
    let some = whole.rows_at(&[3, 0, 3]).unwrap();
    assert_eq!((&some.features[..], &some.labels[..], some.classes), (&[3.0, 0.0, 3.0][..], &[1, 0, 1][..], 3));
    assert_eq!(some.class_names, whole.class_names);
    assert_eq!(whole.rows_at(&[0, 4]).unwrap_err().to_string(), "rows[1] = 4 is out of range: below 4, the number of rows");
    assert_eq!(whole.rows_at(&[]).unwrap_err().to_string(), "the list of rows is empty");
}
