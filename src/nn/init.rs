//! Start values of parameters, from a key.

use crate::error::{Error, Result};
use crate::op::threefry;
use std::sync::Arc;

/// How a parameter starts. `fan_in` and `fan_out` are those of PyTorch: the sizes of the second and of the first dimension,
/// both times the sizes of all further dimensions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All the same.
    Constant(f64),
    /// Uniform between ± this bound. PyTorch's linear layers take 1/√inputs, for weight and bias.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Normal, drawn again beyond two standard deviations.
    TruncatedNormal(f64),
    /// Uniform between ±√(6/(fan_in + fan_out)) (Glorot and Bengio 2010).
    XavierUniform,
    /// Normal with the variance 2/(fan_in + fan_out).
    XavierNormal,
    /// Uniform between ±√(6/fan_in), for layers before a ReLU (He et al. 2015).
    HeUniform,
    /// Normal with the variance 2/fan_in.
    HeNormal,
    /// A matrix whose rows, or columns if there are fewer, are orthogonal and of this length (Saxe et al. 2014). Dimensions
    /// after the first count as one.
    Orthogonal(f64),
    /// These numbers, in row-major order.
    Given(Arc<[f64]>),
}

/// A sequence of random words.
struct Words {
    key: [u32; 2],
    count: u32,
}

impl Words {
    /// For a parameter of a lane: each name has its own sequence.
    fn new(key: [u32; 2], name: &str) -> Self {
        let mixed = name.bytes().fold(key, |key, byte| threefry(key, [byte.into(), 0x1417]));
        Self { key: mixed, count: 0 }
    }

    /// From 0 to below 1.
    fn even(&mut self) -> f64 {
        let [a, b] = threefry(self.key, [self.count, 0]);
        self.count += 1;
        // 53 bits.
        (f64::from(a >> 5) * 67_108_864.0 + f64::from(b >> 6)) / 9_007_199_254_740_992.0
    }

    /// Normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, turn) = ((-2.0 * (1.0 - self.even()).ln()).sqrt(), std::f64::consts::TAU * self.even());
        radius * turn.cos()
    }
}

impl Init {
    /// Fills in a parameter's start values, a function of the lane's key and the parameter's name.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter with fewer than two dimensions where fans are needed.
    pub fn fill(&self, name: &str, shape: &[usize], key: [u32; 2], values: &mut [f64]) -> Result<()> {
        let mut words = Words::new(key, name);
        let fans = || match shape {
            [rows, columns, rest @ ..] => {
                let area: usize = rest.iter().product();
                Ok(((columns * area) as f64, (rows * area) as f64))
            }
            _ => Err(Error::shape(format!("{name}, to be initialised by {self:?},"), "at least two dimensions", shape.len())),
        };
        let mut even = |bound: f64| values.iter_mut().for_each(|value| *value = bound * (2.0 * words.even() - 1.0));
        match *self {
            Self::Zeros => values.fill(0.0),
            Self::Ones => values.fill(1.0),
            Self::Constant(number) => values.fill(number),
            Self::Uniform(bound) => even(bound),
            Self::XavierUniform => even((6.0 / (fans()?.0 + fans()?.1)).sqrt()),
            Self::HeUniform => even((6.0 / fans()?.0).sqrt()),
            Self::Normal(deviation) => normal(values, &mut words, deviation),
            Self::XavierNormal => normal(values, &mut words, (2.0 / (fans()?.0 + fans()?.1)).sqrt()),
            Self::HeNormal => normal(values, &mut words, (2.0 / fans()?.0).sqrt()),
            Self::TruncatedNormal(deviation) => {
                for value in values {
                    *value = std::iter::repeat_with(|| words.normal()).find(|x| x.abs() <= 2.0).unwrap_or(0.0) * deviation;
                }
            }
            Self::Given(ref numbers) if numbers.len() == values.len() => values.copy_from_slice(numbers),
            Self::Given(ref numbers) => return Err(Error::shape(name, values.len(), numbers.len())),
            Self::Orthogonal(gain) => {
                fans()?;
                normal(values, &mut words, 1.0);
                orthogonal(values, shape[0], gain);
            }
        }
        Ok(())
    }
}

fn normal(values: &mut [f64], words: &mut Words, deviation: f64) {
    values.iter_mut().for_each(|value| *value = deviation * words.normal());
}

/// Gram and Schmidt, twice, over the rows of a matrix or over its columns if there are fewer.
fn orthogonal(values: &mut [f64], rows: usize, gain: f64) {
    let columns = values.len() / rows.max(1);
    let (count, len) = (rows.min(columns), rows.max(columns));
    let place = |line: usize, i: usize| if rows <= columns { line * columns + i } else { i * columns + line };
    for line in 0..count {
        for _ in 0..2 {
            for before in 0..line {
                let dot: f64 = (0..len).map(|i| values[place(line, i)] * values[place(before, i)]).sum();
                (0..len).for_each(|i| values[place(line, i)] -= dot * values[place(before, i)]);
            }
            let norm = (0..len).map(|i| values[place(line, i)].powi(2)).sum::<f64>().sqrt();
            (0..len).for_each(|i| values[place(line, i)] /= norm);
        }
    }
    values.iter_mut().for_each(|value| *value *= gain);
}
