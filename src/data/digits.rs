use std::path::Path;

use super::{Dataset, csv};

/// 1,797 handwritten digits of 8×8 grey values from 0 to 16, in 10 classes.
///
/// Source: Alpaydin & Kaynak, *Optical Recognition of Handwritten Digits* (test part), UCI 1998, CC BY 4.0.
///
/// # Examples
///
/// ```
/// let digits = thalweg::data::digits();
/// assert_eq!((digits.rows(), digits.width, digits.classes), (1797, 64, 10));
/// assert_eq!(digits.shape, [8, 8]);
/// ```
pub fn digits() -> Dataset {
    let path = Path::new("digits.csv.gz");
    csv::Options::default()
        .read_from(path, &include_bytes!("digits.csv.gz")[..])
        .and_then(csv::Table::dataset)
        .map(|data| Dataset { shape: vec![8, 8], ..data })
        .expect("the file is part of the program and a test reads it")
}
