//! Every combination of values.

use super::domain::Domain;
use super::point::{Coordinate, Point};
use super::space::SearchSpace;
use super::study::{History, Sampler};
use crate::error::{Error, Result};

/// The most points of a grid.
const MOST: usize = 1 << 20;

/// All combinations of values: every value of a domain that can be counted, and evenly spread values of any other, with both
/// bounds. For a logarithmic domain, also of whole numbers, they are spread evenly in the logarithm.
///
/// The first parameter varies slowest; a parameter comes after the one of its condition. Combinations that differ only in
/// parameters that do not exist are one point. Points that were tried before, such as enqueued ones, are left out.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Grid, SearchSpace, Study};
///
/// let space: SearchSpace = "lr=log:1e-3:1e-1; rule=choice:adam,sgd; momentum=choice:0.0,0.9 if rule=sgd".parse()?;
/// let grid = Grid::new(&space, 3)?;
/// assert_eq!(grid.points().len(), 3 * (1 + 2));
/// let mut study = Study::new(space, Goal::Minimize, grid);
/// assert_eq!(study.ask(100)?.len(), 9);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    points: Vec<Point>,
}

impl Grid {
    /// The grid of a space, with `values` values of each domain that cannot be counted, or whose scale is logarithmic.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if `values` is 0, or the grid has more than 2²⁰ points.
    pub fn new(space: &SearchSpace, values: usize) -> Result<Self> {
        crate::error::range::require(values > 0, "values of a grid", values, "at least 1")?;
        let mut points = Vec::new();
        extend(space, values, 0, Point::new(), &mut points)?;
        Ok(Self { points })
    }

    /// The points, in order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }
}

/// Adds all points that begin with the values of `begun`, which has those of the first `depth` parameters in the space's order.
fn extend(space: &SearchSpace, values: usize, depth: usize, begun: Point, points: &mut Vec<Point>) -> Result<()> {
    let Some(&i) = space.order().get(depth) else {
        if points.len() == MOST {
            return Err(Error::setting("points of the grid", format!("more than {MOST}"), &format!("at most {MOST}")));
        }
        points.push(space.complete(&begun, |parameter| Ok(parameter.domain.at(0.0)))?);
        return Ok(());
    };
    let parameter = &space.parameters()[i];
    let exists =
        parameter.when.as_ref().is_none_or(|when| begun.get(&when.parameter).is_some_and(|value| when.values.contains(value)));
    if !exists {
        return extend(space, values, depth + 1, begun, points);
    }
    for k in 0..count(&parameter.domain, values) {
        let value = value(&parameter.domain, values, k);
        // On a logarithmic scale, neighbouring values may round to one whole number.
        let before = (k > 0).then(|| self::value(&parameter.domain, values, k - 1));
        if before.as_ref() != Some(&value) {
            extend(space, values, depth + 1, begun.clone().with(&parameter.name, value), points)?;
        }
    }
    Ok(())
}

fn count(domain: &Domain, values: usize) -> u64 {
    match domain {
        Domain::LogInteger { .. } => values as u64,
        domain => domain.count().unwrap_or(values as u64),
    }
}

fn value(domain: &Domain, values: usize, k: u64) -> Coordinate {
    match domain {
        Domain::Uniform { .. } | Domain::LogUniform { .. } if values == 1 => domain.at(0.5),
        Domain::LogInteger { .. } if values == 1 => domain.at(0.5),
        Domain::Uniform { .. } | Domain::LogUniform { .. } | Domain::LogInteger { .. } => {
            domain.at(k as f64 / (values - 1) as f64)
        }
        domain => domain.nth(k),
    }
}

impl Sampler for Grid {
    fn suggest(&mut self, _: &SearchSpace, history: &History<'_>, number: u64) -> Result<Option<Point>> {
        let tried = |point: &&Point| history.trials.iter().any(|trial| trial.point == **point);
        // Points before this place were suggested, or were tried for another reason.
        let next = self.points.iter().skip(usize::try_from(number).unwrap_or(usize::MAX)).find(|point| !tried(point));
        Ok(next.cloned())
    }
}
