//! Splits into a training part and a test part.

use super::*;

#[test]
fn each_class_is_within_one_row_of_its_fraction() -> Result<()> {
    let digits = digits();
    for fraction in [0.01, 0.1, 0.25, 1.0 / 3.0, 0.5, 0.9] {
        let (train, test) = digits.split(fraction, 3)?;
        assert_eq!((train.classes, test.classes), (10, 10));
        for class in 0..10 {
            let count = |data: &Dataset| data.labels.iter().filter(|&&label| label == class).count();
            let exact = fraction * count(&digits) as f64;
            assert!((count(&test) as f64 - exact).abs() <= 0.5 + 1e-9, "class {class}, {fraction}");
            assert_eq!(count(&train) + count(&test), count(&digits));
        }
    }
    Ok(())
}

#[test]
fn a_tie_goes_to_the_training_part() -> Result<()> {
    let (train, test) = numbered(vec![0, 1, 1])?.split(0.5, 1)?;
    assert_eq!((train.rows(), test.rows()), (2, 1));
    assert!(train.labels.contains(&0));
    Ok(())
}

#[test]
fn the_parts_are_disjoint_and_complete_and_keep_each_label_with_its_row() -> Result<()> {
    let data = numbered((0..100).map(|i| i * i % 7).collect())?;
    let (train, test) = data.split(0.3, 11)?;
    let mut seen = BTreeSet::new();
    for part in [&train, &test] {
        for (row, &label) in part.features.iter().zip(&part.labels) {
            assert_eq!(label, data.labels[*row as usize]);
            assert!(seen.insert(*row as usize), "row {row} is there twice");
        }
    }
    assert!(seen.into_iter().eq(0..100));
    Ok(())
}

#[test]
fn a_seed_repeats_and_another_seed_differs() -> Result<()> {
    let digits = digits();
    assert_eq!(digits.split(0.2, 5)?, digits.split(0.2, 5)?);
    let ((train5, test5), (train6, test6)) = (digits.split(0.2, 5)?, digits.split(0.2, 6)?);
    assert!(train5 != train6 && test5 != test6);
    Ok(())
}

#[test]
fn neither_part_is_sorted_by_class() -> Result<()> {
    let (train, test) = numbered((0..200).map(|i| i / 100).collect())?.split(0.5, 2)?;
    assert!(!train.labels.is_sorted() && !test.labels.is_sorted());
    Ok(())
}

#[test]
fn a_fraction_outside_its_range_is_named() -> Result<()> {
    let data = numbered(vec![0, 1])?;
    for fraction in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
        let expected = format!("test_fraction = {fraction} is out of range: above 0 and below 1");
        assert_eq!(data.split(fraction, 0).unwrap_err().to_string(), expected);
    }
    Ok(())
}

#[test]
fn a_part_without_rows_is_refused() -> Result<()> {
    let data = numbered(vec![0, 1])?;
    let refused = |fraction| data.split(fraction, 0).map_err(|error| error.to_string());
    assert_eq!(refused(0.1), Err("the test part of 2 rows at test_fraction = 0.1 is empty".into()));
    assert_eq!(refused(0.9), Err("the training part of 2 rows at test_fraction = 0.9 is empty".into()));
    Ok(())
}
