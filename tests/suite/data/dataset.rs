//! Data sets as lists of rows.

use super::*;

#[test]
fn ill_formed_sets_are_refused_by_name_and_value() {
    let texts = [
        (Dataset::new(vec![], 2, vec![]), "the data set is empty"),
        (Dataset::new(vec![1.0], 0, vec![0]), "width = 0 is out of range: at least 1"),
        (Dataset::new(vec![1.0; 5], 2, vec![0; 3]), "features: 5 found, 3 rows × 2 expected"),
        (Dataset::new(vec![1.0; 5], usize::MAX, vec![0; 3]), &format!("features: 5 found, 3 rows × {} expected", usize::MAX)),
        (Dataset::new(vec![1.0, f32::NAN], 1, vec![0; 2]), "features[row 1, column 0] = NaN is out of range: finite"),
        (Dataset::new(vec![1.0], 1, vec![65_536]), "classes = 65537 is out of range: 1 to 65536"),
    ];
    for (result, expected) in texts {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn fields_broken_by_hand_are_refused_where_they_are_used() -> Result<()> {
    let mut data = numbered(vec![0, 1])?;
    data.labels[1] = 7;
    let expected = "labels[1] = 7 is out of range: below classes = 2";
    assert_eq!(data.split(0.5, 0).unwrap_err().to_string(), expected);
    assert_eq!(Scaler::standard(&data).unwrap_err().to_string(), expected);
    let mut data = numbered(vec![0, 1])?;
    data.class_names = vec!["one".into()];
    assert_eq!(data.check().unwrap_err().to_string(), "class names: 1 found, 2 expected");
    Ok(())
}

#[test]
fn a_row_beyond_the_end_is_none() -> Result<()> {
    let data = numbered(vec![0, 1])?;
    assert_eq!(data.row(1), Some(&[1.0][..]));
    assert_eq!(data.row(2), None);
    assert_eq!(data.row(usize::MAX), None);
    Ok(())
}

#[test]
fn the_digits_are_1797_rows_of_64_grey_values_in_10_classes() {
    let digits = digits();
    assert_eq!((digits.rows(), digits.width, digits.classes), (1797, 64, 10));
    assert_eq!(digits.check(), Ok(()));
    assert!(digits.features.iter().all(|x| (0.0..=16.0).contains(x) && x.fract() == 0.0));
    // Counts per class as the data set's own description gives them.
    let count = |class| digits.labels.iter().filter(|&&label| label == class).count();
    assert_eq!((0..10).map(count).collect::<Vec<_>>(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}
