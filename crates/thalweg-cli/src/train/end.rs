//! How a run ended: said, and written.

use super::End;
use crate::Interrupted;
use crate::data;
use crate::record::Record;
use crate::report::{Epoch, Report};
use anyhow::{Result, bail};

/// Says and writes how a run ended. The result comes before the files.
pub fn finish(ended: Result<End>, record: &Record, report: &mut Report, last: Option<Epoch>) -> Result<()> {
    let printed = match (&ended, &last) {
        (Ok(End::Done), Some(last)) => report.result(record, last),
        _ => Ok(()),
    };
    let state = match &ended {
        Ok(End::Stopped(_)) => "interrupted",
        Ok(_) if last.is_some_and(|last| !last.is_finite()) => "not finite",
        Ok(_) => "finished",
        Err(_) => "failed",
    };
    let written = report.files(record, state, last.as_ref());
    match ended? {
        End::Stopped(signal) => {
            let done = format!("{} whole epochs", last.map_or(0, |last| last.epoch));
            bail!(Interrupted { done, signal })
        }
        End::NotFinite => bail!("{}; --keep-going trains on all the same", not_finite(record, last)),
        End::Done => {}
    }
    printed?;
    written?;
    if last.is_some_and(|last| !last.is_finite()) { bail!("{}", not_finite(record, last)) } else { Ok(()) }
}

/// At which epoch and rate a run went astray, and what to try.
fn not_finite(record: &Record, last: Option<Epoch>) -> String {
    let (epoch, steps) = last.map_or((0, 1), |last| (last.epoch, last.steps));
    let rate = record.rates.at(steps.saturating_sub(1) as u64).map(|rate| format!(" at a rate of {}", data::short(rate)));
    let rate = rate.unwrap_or_default();
    format!("the loss is not finite after epoch {epoch}{rate}: try a smaller --lr, or --clip-norm 1")
}
