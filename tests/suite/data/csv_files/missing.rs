//! Missing cells.

use super::*;

const GAPS: &str = "1,a,0\nNA,b,1\n3,,0\n5,b,1\n";

#[test]
fn rows_are_left_out_or_filled_in() -> Result<()> {
    let with = |missing| table(GAPS, &Options { missing, ..Default::default() });
    let dropped = with(Missing::Drop)?;
    assert_eq!((dropped.reading().dropped, dropped.reading().filled), (2, 0));
    assert_eq!(dropped.dataset()?.features, [1.0, 1.0, 0.0, 5.0, 0.0, 1.0]);
    let filled = with(Missing::Mean)?;
    assert_eq!((filled.reading().dropped, filled.reading().filled), (0, 2));
    assert_eq!(filled.dataset()?.features, [1.0, 1.0, 0.0, 3.0, 0.0, 1.0, 3.0, 0.0, 0.0, 5.0, 0.0, 1.0]);
    Ok(())
}

/// Nothing of the test part is used for the means.
#[test]
fn the_mean_is_that_of_the_training_part() -> Result<()> {
    let content: String =
        (0..40).map(|i| format!("{},7,{}\n", if i % 5 == 0 { "NA".into() } else { i.to_string() }, i % 2)).collect();
    let table = table(&content, &Options { missing: Missing::Mean, ..Default::default() })?;
    let (train, test) = table.split(0.25, 3)?;
    assert_eq!((train.rows(), test.rows()), (30, 10));
    let column = |data: &Dataset| data.features.iter().step_by(2).copied().collect::<Vec<f32>>();
    // Rows whose number is a multiple of 5 are the holes.
    let known: Vec<f64> = column(&train).into_iter().map(f64::from).filter(|x| x.fract() == 0.0 && x % 5.0 != 0.0).collect();
    let mean = (known.iter().sum::<f64>() / known.len() as f64) as f32;
    let holes = |data: &Dataset| column(data).iter().filter(|x| **x == mean).count();
    assert!(mean.fract() != 0.0 && holes(&train) > 0 && holes(&test) > 0, "{mean} in {train:?} and {test:?}");
    assert_eq!(holes(&train) + holes(&test), 8);
    Ok(())
}
