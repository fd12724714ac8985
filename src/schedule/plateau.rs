use crate::error::{Result, range};
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::not_negative;
use crate::text::{Text, words};

/// Which metrics are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Extreme {
    /// Smaller ones, such as losses.
    #[default]
    Min,
    /// Larger ones, such as accuracies.
    Max,
}

words!(Extreme, "min or max", Min: "min", Max: "max");

/// By how much a metric must be better than the best so far to count.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Threshold {
    /// A fraction of the best's size: `a < best − threshold · |best|`, or `a > best + threshold · |best|`.
    Relative(f64),
    /// An amount: `a < best − threshold`, or `a > best + threshold`.
    Absolute(f64),
    /// A fraction of the best itself, as torch has it: `a < best · (1 − threshold)`, or `a > best · (1 + threshold)`. For
    /// positive metrics that is [`Threshold::Relative`]; with negative ones it asks for *less* than the best, so that a value
    /// is hardly ever lowered.
    Factor(f64),
}

impl Default for Threshold {
    fn default() -> Self {
        Self::Relative(1e-4)
    }
}

/// `relative:0.01`, `absolute:0.01` or `factor:0.01`.
impl Text for Threshold {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let allowed = "relative:X, absolute:X or factor:X with a number X";
        let (kind, number) = text.trim().split_once(':').ok_or(allowed)?;
        let number = number.parse().map_err(|_| allowed)?;
        *self = match kind {
            "relative" => Self::Relative(number),
            "absolute" => Self::Absolute(number),
            "factor" => Self::Factor(number),
            _ => return Err(allowed),
        };
        Ok(())
    }

    fn write(&self) -> String {
        let (kind, number) = match self {
            Self::Relative(fraction) => ("relative", fraction),
            Self::Absolute(amount) => ("absolute", amount),
            Self::Factor(fraction) => ("factor", fraction),
        };
        format!("{kind}:{}", number.write())
    }
}

/// Lowers a learning rate once a metric has stopped getting better: the settings.
///
/// ```text
/// if metric is better than best: best = metric, bad = 0      else: bad += 1
/// if cooling > 0:                cooling −= 1,  bad = 0
/// if bad > patience:             cooling = cooldown, bad = 0, new = max(value · factor, to), value = new if value − new > eps
/// ```
///
/// As `torch.optim.lr_scheduler.ReduceLROnPlateau`, except for negative metrics, see [`ReduceLrOnPlateau::torch`]. A NaN metric
/// is a bad one. Keras's callback of the same name counts one epoch less of patience and takes an absolute threshold. The value
/// depends on the metrics so far, so this is not a [`crate::schedule::Schedule`]: [`ReduceLrOnPlateau::start`] makes the
/// running one.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::ReduceLrOnPlateau;
///
/// let mut plateau = ReduceLrOnPlateau { factor: 0.5, patience: 1, ..ReduceLrOnPlateau::new(1.0) }.start()?;
/// assert_eq!([0.3, 0.3, f64::NAN, 0.2].map(|metric| plateau.step(metric)), [1.0, 1.0, 0.5, 0.5]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "ReduceLrOnPlateau::unset", deny_unknown_fields)
)]
pub struct ReduceLrOnPlateau {
    /// Value at the start, finite and at least 0. No default.
    pub from: f64,
    /// Which metrics are better. Default [`Extreme::Min`].
    pub goal: Extreme,
    /// Factor of a reduction, above 0 and below 1. Default 0.1.
    pub factor: f64,
    /// Bad metrics in a row that change nothing; the next one reduces the value. Default 10.
    pub patience: u64,
    /// How much better counts, finite and at least 0. Default [`Threshold::Relative`] of 1e-4.
    pub threshold: Threshold,
    /// Metrics after a reduction that are not counted as bad. Default 0.
    pub cooldown: u64,
    /// Least value, finite and at least 0 (torch: `min_lr`). Default 0.
    pub to: f64,
    /// Reductions of at most this much are not made, finite and at least 0. Default 1e-8.
    pub eps: f64,
}

impl ReduceLrOnPlateau {
    /// From a value on; all else as it is by default.
    pub fn new(from: f64) -> Self {
        Self {
            from,
            goal: Extreme::Min,
            factor: 0.1,
            patience: 10,
            threshold: Threshold::default(),
            cooldown: 0,
            to: 0.0,
            eps: 1e-8,
        }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET)
    }
}

impl ReduceLrOnPlateau {
    /// As `torch.optim.lr_scheduler.ReduceLROnPlateau`, also for negative metrics: [`Threshold::Factor`] of 1e-4.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::ReduceLrOnPlateau;
    ///
    /// // A loss that stays at −1: every metric is below −1 + 1e-4, so none counts as bad.
    /// let mut torch = ReduceLrOnPlateau { patience: 0, ..ReduceLrOnPlateau::torch(1.0) }.start()?;
    /// let mut usual = ReduceLrOnPlateau { patience: 0, ..ReduceLrOnPlateau::new(1.0) }.start()?;
    /// assert_eq!([-1.0, -1.0].map(|metric| torch.step(metric)), [1.0, 1.0]);
    /// assert_eq!([-1.0, -1.0].map(|metric| usual.step(metric)), [1.0, 0.1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn torch(from: f64) -> Self {
        Self { threshold: Threshold::Factor(1e-4), ..Self::new(from) }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] naming the first setting that is out of its range.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::ReduceLrOnPlateau;
    ///
    /// let error = ReduceLrOnPlateau { factor: 1.0, ..ReduceLrOnPlateau::new(1.0) }.check().unwrap_err();
    /// assert_eq!(error.to_string(), "factor = 1 is out of range: above 0 and below 1");
    /// ```
    pub fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        range::require(self.factor > 0.0 && self.factor < 1.0, "factor", self.factor, "above 0 and below 1")?;
        let (Threshold::Relative(threshold) | Threshold::Absolute(threshold) | Threshold::Factor(threshold)) = self.threshold;
        not_negative("threshold", threshold)?;
        not_negative("to", self.to)?;
        not_negative("eps", self.eps)
    }

    /// Starts with no metric seen.
    ///
    /// # Errors
    /// As [`ReduceLrOnPlateau::check`].
    pub fn start(self) -> Result<Plateau> {
        self.check()?;
        Ok(Plateau { value: self.from, best: None, bad: 0, cooling: 0, settings: self })
    }
}

/// A running [`ReduceLrOnPlateau`]: its settings and what it has seen. Checkpoints can compare and serialise it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Plateau {
    settings: ReduceLrOnPlateau,
    value: f64,
    #[cfg_attr(feature = "serde", serde(with = "best"))]
    best: Option<f64>,
    bad: u64,
    cooling: u64,
}

impl Plateau {
    /// The current value.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The best metric so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// Takes the next metric and returns the value to go on with.
    pub fn step(&mut self, metric: f64) -> f64 {
        if self.better(metric) {
            self.best = Some(metric);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > self.settings.patience {
            self.cooling = self.settings.cooldown;
            self.bad = 0;
            let lower = (self.value * self.settings.factor).max(self.settings.to);
            if self.value - lower > self.settings.eps {
                self.value = lower;
            }
        }
        self.value
    }

    fn better(&self, metric: f64) -> bool {
        // With the sign a better metric is always a smaller one.
        let sign = match self.settings.goal {
            Extreme::Min => 1.0,
            Extreme::Max => -1.0,
        };
        let metric = sign * metric;
        let Some(best) = self.best.map(|best| sign * best) else { return metric < f64::INFINITY };
        let bound = match self.settings.threshold {
            Threshold::Relative(fraction) => best - fraction * best.abs(),
            Threshold::Absolute(amount) => best - amount,
            Threshold::Factor(fraction) => best * (1.0 - sign * fraction),
        };
        metric < bound
    }
}

/// The best metric may be infinite, which some formats cannot write as a number (JSON makes null of it): there it is a word.
#[cfg(feature = "serde")]
mod best {
    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::fmt;

    pub fn serialize<S: Serializer>(best: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match best {
            Some(best) if serializer.is_human_readable() && best.is_infinite() => serializer.collect_str(best),
            best => best.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        if deserializer.is_human_readable() { deserializer.deserialize_any(Best) } else { Option::deserialize(deserializer) }
    }

    struct Best;

    impl<'de> Visitor<'de> for Best {
        type Value = Option<f64>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a number, inf, -inf or nothing")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_f64<E: Error>(self, best: f64) -> Result<Self::Value, E> {
            Ok(Some(best))
        }

        fn visit_i64<E: Error>(self, best: i64) -> Result<Self::Value, E> {
            Ok(Some(best as f64))
        }

        fn visit_u64<E: Error>(self, best: u64) -> Result<Self::Value, E> {
            Ok(Some(best as f64))
        }

        fn visit_str<E: Error>(self, best: &str) -> Result<Self::Value, E> {
            match best {
                "inf" => Ok(Some(f64::INFINITY)),
                "-inf" => Ok(Some(f64::NEG_INFINITY)),
                other => Err(E::invalid_value(Unexpected::Str(other), &self)),
            }
        }
    }
}
