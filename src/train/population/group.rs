//! Which jobs share a program.

use super::{Population, Setup, key};
use crate::data::Fold;
use crate::error::{Error, Result};
use crate::nn::{Model, Tape};
use crate::plan::{Arena, Engine, Layout};
use crate::sweep::Job;

/// Jobs that are lanes of one program.
pub(super) struct Group {
    pub model: String,
    pub arena: Arena,
    /// The number of rows on which each is trained.
    pub rows: usize,
    /// Steps that each job has made.
    pub made: usize,
    pub jobs: Vec<usize>,
    pub setups: Vec<Setup>,
}

impl Group {
    fn add(&mut self, job: usize, setup: Setup) {
        self.jobs.push(job);
        self.setups.push(setup);
    }

    /// Its jobs, each alone.
    pub fn apart(self) -> Vec<Self> {
        let Self { model, arena, rows, made, jobs, setups } = self;
        let alone = |(job, setup)| Self {
            model: model.clone(),
            arena: arena.clone(),
            rows,
            made,
            jobs: vec![job],
            setups: vec![setup],
        };
        jobs.into_iter().zip(setups).map(alone).collect()
    }
}

impl<E: Engine, S: FnMut(&Job) -> Result<Setup>> Population<'_, E, S> {
    /// The rows on which a job is trained and validated.
    pub(super) fn fold(&self, job: &Job) -> Result<Option<&Fold>> {
        let Some(fold) = job.fold else { return Ok(None) };
        let found = usize::try_from(fold).ok().and_then(|fold| self.folds.get(fold));
        let unknown = || Error::setting("fold", fold, &format!("below {}, the folds of the population", self.folds.len()));
        found.map(Some).ok_or_else(unknown)
    }

    /// Groups of jobs that share a program. A job that is beyond what is asked for begins anew: the table of a sweep that was
    /// ended may lack rows whose states a file has.
    pub(super) fn groups(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            if self.fold(job)?.is_none() && self.validation.is_none() {
                return Err(Error::missing("a population", "data to validate on", ".validation(&data) or .folds(..)"));
            }
            let setup = (self.setup)(job)?;
            let rows = self.fold(job)?.map_or(self.train.rows(), |fold| fold.train.len());
            let asked = steps.saturating_mul(if self.epochs { setup.batch.steps(rows) as u64 } else { 1 });
            if self.kept.get(&key(job)).is_some_and(|kept| kept.steps as u64 > asked) {
                self.kept.remove(&key(job));
            }
            let made = self.kept.get(&key(job)).map_or(0, |kept| kept.steps);
            let model = format!("{:?}", setup.model);
            let alike = |group: &&mut Group| {
                let same = group.model == model && (group.rows, group.made) == (rows, made);
                same && group.setups[0].batch == setup.batch && group.setups[0].recipe.goes_with(&setup.recipe, &group.arena)
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.add(index, setup),
                None => {
                    let arena = arena(&*setup.model, self.train.width, self.indices)?;
                    groups.push(Group { model, arena, rows, made, jobs: vec![index], setups: vec![setup] });
                }
            }
        }
        Ok(groups)
    }
}

/// The parameters of a model for rows of so many features.
fn arena(model: &dyn Model, width: usize, indices: bool) -> Result<Arena> {
    let mut tape = Tape::evaluation();
    let x = if indices {
        let mut apart = Layout::new(1);
        let id = apart.shared_indices("features", width);
        tape.indices(apart.whole(id), &[1, width])
    } else {
        tape.constant(&[1, width], 0.0)
    };
    model.forward(&mut tape, &x);
    tape.arena()
}
