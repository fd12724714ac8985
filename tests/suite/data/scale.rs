//! Scales of features.

use super::*;

#[test]
fn range_divides_by_the_largest_absolute_value_of_all() -> Result<()> {
    let mut data = Dataset::new(vec![1.0, -8.0, 4.0, 0.0], 2, vec![0, 1])?;
    Scaler::range(&data)?.apply(&mut data)?;
    assert_eq!(data.features, [0.125, -1.0, 0.5, 0.0]);
    Ok(())
}

#[test]
fn range_leaves_zeros_as_they_are() -> Result<()> {
    let mut data = Dataset::new(vec![0.0; 4], 2, vec![0, 1])?;
    Scaler::range(&data)?.apply(&mut data)?;
    assert_eq!(data.features, [0.0; 4]);
    Ok(())
}

#[test]
fn standard_columns_have_mean_0_and_deviation_1_or_are_constant() -> Result<()> {
    let mut data = digits();
    let raw = data.clone();
    Scaler::standard(&data)?.apply(&mut data)?;
    let mut constant = 0;
    for j in 0..data.width {
        let column =
            |data: &Dataset| -> Vec<f64> { data.features.iter().skip(j).step_by(data.width).map(|&x| f64::from(x)).collect() };
        let (scaled, before) = (column(&data), column(&raw));
        let rows = data.rows() as f64;
        let mean = scaled.iter().sum::<f64>() / rows;
        let variance = scaled.iter().map(|x| x * x).sum::<f64>() / rows;
        if before.iter().all(|&x| x == before[0]) {
            constant += 1;
            assert!(scaled.iter().all(|&x| x == 0.0));
        } else {
            // Scaled values are rounded to f32: relative 6e-8 each, the largest about 40.
            assert!(mean.abs() < 1e-7 && (variance - 1.0).abs() < 1e-6, "column {j}: {mean} {variance}");
        }
    }
    assert_eq!(constant, 3, "pixels that are 0 in every digit");
    Ok(())
}

#[test]
fn a_constant_column_is_exactly_0_whatever_its_value() -> Result<()> {
    // The plain mean of 0.1 over 1,000 rows is not 0.1, and its error must not count as a deviation.
    let mut data = Dataset::new(vec![0.1; 1000], 1, vec![0; 1000])?;
    Scaler::standard(&data)?.apply(&mut data)?;
    assert!(data.features.iter().all(|&x| x == 0.0));
    Ok(())
}

#[test]
fn a_small_spread_on_a_large_mean_survives() -> Result<()> {
    let features = (0..1000).map(|i| 16_777_000.0 + (i % 2) as f32).collect();
    let mut data = Dataset::new(features, 1, vec![0; 1000])?;
    Scaler::standard(&data)?.apply(&mut data)?;
    assert!(data.features.chunks(2).all(|pair| pair == [-1.0, 1.0]));
    Ok(())
}

#[test]
fn the_test_part_is_scaled_as_the_training_part() -> Result<()> {
    let train = Dataset::new(vec![0.0, 4.0], 1, vec![0, 1])?;
    let mut test = Dataset::new(vec![8.0], 1, vec![0])?;
    Scaler::standard(&train)?.apply(&mut test)?;
    assert_eq!(test.features, [3.0]);
    Ok(())
}

#[test]
fn another_width_is_refused() -> Result<()> {
    let train = Dataset::new(vec![1.0, 2.0, 3.0], 3, vec![0])?;
    let mut test = Dataset::new(vec![1.0, 2.0], 2, vec![0])?;
    let error = Scaler::range(&train)?.apply(&mut test).unwrap_err();
    assert_eq!(error.to_string(), "features per row: 2 found, 3 as in training expected");
    assert!(matches!(error, Error::Shape { .. }));
    Ok(())
}

#[test]
fn a_feature_scaled_beyond_f32_is_refused_and_nothing_changes() -> Result<()> {
    let tiny = Scaler::range(&Dataset::new(vec![1e-30], 1, vec![0])?)?;
    let mut test = Dataset::new(vec![1e-30, 1e30], 1, vec![0, 1])?;
    let error = tiny.apply(&mut test).unwrap_err().to_string();
    assert!(error.ends_with("in column 1, scaled = inf is out of range: finite"), "{error}");
    assert_eq!(test.features, [1e-30, 1e30]);
    Ok(())
}
