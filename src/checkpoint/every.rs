//! How often a run is saved.

use crate::error::{Error, Result};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// After every number of steps, or of seconds: `500` or `60s`.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::{Due, Every};
///
/// let mut due = Due::new("500".parse()?, 0);
/// let saved: Vec<u64> = (1..=1600).filter(|&step| due.at(step)).collect();
/// assert_eq!(saved, [500, 1000, 1500]);
/// assert_eq!("1.5s".parse(), Ok(Every::Time(std::time::Duration::from_millis(1500))));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// At steps that are multiples of this number.
    Steps(u64),
    /// As soon as this much time has passed since the last save.
    Time(Duration),
}

impl FromStr for Every {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::setting("every", text, "a number of steps such as 500, or of seconds such as 60s");
        match text.strip_suffix('s') {
            None => text.parse().ok().filter(|&steps| steps > 0).map(Self::Steps).ok_or_else(wrong),
            Some(seconds) => {
                let seconds = seconds.trim().parse().ok().filter(|&seconds: &f64| seconds > 0.0);
                let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|time| !time.is_zero());
                time.map(Self::Time).ok_or_else(wrong)
            }
        }
    }
}

/// Tells when a run is to be saved.
#[derive(Debug, Clone)]
pub struct Due {
    every: Every,
    step: u64,
    time: Instant,
}

impl Due {
    /// Begins at a step that is saved already, or at the start of the run.
    pub fn new(every: Every, step: u64) -> Self {
        Self { every, step, time: Instant::now() }
    }

    /// Whether a run is to be saved at this step. If so, the step counts as saved.
    pub fn at(&mut self, step: u64) -> bool {
        let due = match self.every {
            Every::Steps(every) => step / every > self.step / every,
            Every::Time(every) => self.time.elapsed() >= every,
        };
        if due {
            (self.step, self.time) = (step, Instant::now());
        }
        due
    }
}
