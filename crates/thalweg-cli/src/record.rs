//! The record of a run: its settings, its data and its result, as text and as JSON.

use crate::data;
use crate::rates::Rates;
use crate::report::Epoch;
use crate::score::{Aim, Measures, Score};
use crate::version;
use serde_json::{Map, Value, json};

/// What the model says of the test rows in the end.
pub struct Tested {
    pub score: Score,
    /// Row after row.
    pub outputs: Vec<f32>,
}

/// The settings of a run, and the best of its epochs.
pub struct Record {
    /// All options by name, with defaults filled in.
    pub settings: Map<String, Value>,
    pub data: data::Summary,
    pub measures: Measures,
    pub rates: Rates,
    pub engine: &'static str,
    pub adapter: String,
    /// The epoch with the highest accuracy, or R², on the rows that validate so far; the first of equals.
    pub best: Option<Epoch>,
    /// None before the end, and where nobody asks for it.
    pub tested: Option<Tested>,
    /// Whether the model of the best epoch is kept, and not that of the last.
    pub kept_best: bool,
}

impl Record {
    /// Takes an epoch that is done; returns whether it is the best so far.
    pub fn epoch(&mut self, done: Epoch) -> bool {
        let better = self.best.as_ref().is_none_or(|best| done.held.quality > best.held.quality);
        if better {
            self.best = Some(done);
        }
        better
    }

    /// The result as one object.
    pub fn result(&self, last: &Epoch) -> Value {
        let (best, Measures { aim, .. }) = (self.best.unwrap_or(*last), self.measures);
        let held = self.measures.held();
        let mut result = json!({
            "epochs_run": last.epoch,
            "steps": last.steps,
            "seconds": last.seconds,
            "best_epoch": best.epoch,
            "engine": self.engine,
            "adapter": self.adapter,
            "data": self.data.read.source,
            "task": aim.task(),
            "parameters": self.data.run.parameters,
            "rates": self.rates.json(),
            "versions": version::object(),
        });
        last.train.put(aim, "train_", &mut result);
        last.held.put(aim, &format!("{held}_"), &mut result);
        best.held.put(aim, &format!("best_{held}_"), &mut result);
        if let (Some(tested), true) = (&self.tested, self.measures.validates) {
            result["kept_epoch"] = json!(self.kept(last).epoch);
            tested.score.put(aim, "test_", &mut result);
        }
        let mut object = self.settings.clone();
        if let Value::Object(result) = result {
            object.extend(result);
        }
        object.into()
    }

    /// The epoch whose model is kept.
    fn kept(&self, last: &Epoch) -> Epoch {
        self.best.filter(|_| self.kept_best).unwrap_or(*last)
    }

    /// run.json: the command, and where the run stands.
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

    /// What was tested, and by which model.
    fn tested(&self, last: &Epoch) -> String {
        let (best, Measures { aim, .. }) = (self.best.unwrap_or(*last), self.measures);
        match (&self.tested, self.measures.validates) {
            (Some(tested), true) => {
                let kept = self.kept(last);
                let (score, held) = (aim.said(tested.score.quality), aim.said(kept.held.quality));
                format!("test {score} after epoch {} (validation {held})", kept.epoch)
            }
            (_, validates) => {
                let part = if validates { "validation" } else { "test" };
                let best = match aim {
                    Aim::Classes => format!("{:.2} %", 100.0 * best.held.quality),
                    Aim::Numbers => format!("{:.4}", best.held.quality),
                };
                let best_epoch = self.best.unwrap_or(*last).epoch;
                format!(
                    "{part} {} after epoch {} (best: {best} after epoch {best_epoch})",
                    aim.said(last.held.quality),
                    last.epoch
                )
            }
        }
    }

    /// The result as one line.
    pub fn line(&self, last: &Epoch) -> String {
        let training = match self.measures.aim {
            // That of the epoch whose model was tested.
            Aim::Classes => format!("training loss {:.4}", self.kept(last).train.loss),
            Aim::Numbers => {
                let score = self.tested.as_ref().map_or(last.held, |tested| tested.score);
                let [loss, mae] = [score.loss, score.mae].map(data::short);
                format!("mean squared error {loss}, mean absolute error {mae}")
            }
        };
        let (rule, tested) = (self.rule(), self.tested(last));
        format!("{tested}, {training}; {rule}; {} steps in {:.2} s on {}", last.steps, last.seconds, self.adapter)
    }

    /// The caption of the curves.
    pub fn title(&self, last: Option<&Epoch>) -> String {
        let result = last.map(|last| {
            let (score, epoch) = match (&self.tested, self.measures.validates) {
                (Some(tested), true) => (tested.score, self.kept(last).epoch),
                _ => (last.held, last.epoch),
            };
            let part = if self.measures.validates && self.tested.is_none() { "validation" } else { "test" };
            format!(": {part} {} after epoch {epoch}", self.measures.aim.said(score.quality))
        });
        format!("{}, {}{}", data::shown(&self.data.read.source), self.rule(), result.unwrap_or_default())
    }
}
