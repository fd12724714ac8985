//! The record of a run: its settings, its data and its result, as text and as JSON.

use crate::data;
use crate::rates::Rates;
use crate::report::Epoch;
use crate::version;
use serde_json::{Map, Value, json};

/// The settings of a run, and the best of its epochs.
pub struct Record {
    /// All options by name, with defaults filled in.
    pub settings: Map<String, Value>,
    pub data: data::Summary,
    pub rates: Rates,
    pub engine: &'static str,
    pub adapter: String,
    /// The epoch with the highest test accuracy so far; the first of equals.
    pub best: Option<Epoch>,
}

impl Record {
    /// Takes an epoch that is done; returns whether it is the best so far.
    pub fn epoch(&mut self, done: Epoch) -> bool {
        let better = self.best.as_ref().is_none_or(|best| done.test.accuracy > best.test.accuracy);
        if better {
            self.best = Some(done);
        }
        better
    }

    /// The result as one object.
    pub fn result(&self, last: &Epoch) -> Value {
        let best = self.best.unwrap_or(*last);
        let mut object = self.settings.clone();
        let result = json!({
            "epochs_run": last.epoch,
            "steps": last.steps,
            "seconds": last.seconds,
            "train_loss": last.train.loss,
            "train_accuracy": last.train.accuracy,
            "test_loss": last.test.loss,
            "test_accuracy": last.test.accuracy,
            "best_epoch": best.epoch,
            "best_test_accuracy": best.test.accuracy,
            "best_test_loss": best.test.loss,
            "engine": self.engine,
            "adapter": self.adapter,
            "data": self.data.read.source,
            "parameters": self.data.run.parameters,
            "rates": self.rates.json(),
            "versions": version::object(),
        });
        if let Value::Object(result) = result {
            object.extend(result);
        }
        object.into()
    }

    /// run.json: the command, and the state of the run.
    pub fn json(&self, state: &str, last: Option<&Epoch>) -> Value {
        let command: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let mut object = json!({
            "command": command,
            "state": state,
            "settings": self.settings,
            "versions": version::object(),
            "result": last.map(|last| self.result(last)),
        });
        object["data"] = self.data.json()["data"].clone();
        object
    }

    fn rule(&self) -> String {
        let run = &self.data.run;
        let rate = run.lr.map(|lr| format!(" at a rate of {}", data::short(lr))).unwrap_or_default();
        let schedule = self.rates.schedule().map(|schedule| format!(" on {schedule}")).unwrap_or_default();
        format!("{}{rate}{schedule}", run.rule)
    }

    /// The result as one line.
    pub fn line(&self, last: &Epoch) -> String {
        let best = self.best.unwrap_or(*last);
        format!(
            "test accuracy {:.2} % after epoch {} (best: {:.2} % after epoch {}), training loss {:.4}; {}; {} steps in {:.2} s on {}",
            100.0 * last.test.accuracy,
            last.epoch,
            100.0 * best.test.accuracy,
            best.epoch,
            last.train.loss,
            self.rule(),
            last.steps,
            last.seconds,
            self.adapter,
        )
    }

    /// The caption of the curves.
    pub fn title(&self, last: Option<&Epoch>) -> String {
        let result = last.map(|last| format!(": test accuracy {:.2} % after epoch {}", 100.0 * last.test.accuracy, last.epoch));
        format!("{}, {}{}", data::shown(&self.data.read.source), self.rule(), result.unwrap_or_default())
    }
}
