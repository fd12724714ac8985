//! One step of L-BFGS: the host decides, the device computes.

use super::history::{History, Products};
#[cfg(feature = "gpu")]
use super::host::Awaits;
use super::host::{Host, Waits};
use super::record::{self, Buffers, Plans, Scalar};
use super::search::{Gradient, Point, strong_wolfe};
use super::{LbfgsReport, LbfgsSettings, LbfgsStop, LineSearch};
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::GpuProgram;
use crate::now::now;
use crate::plan::{Arena, Blueprint, BufferId, PlanId, Program};
use crate::rule::Real;

/// The host's side of L-BFGS over the parameters and gradients of the caller's program; see [`LbfgsSettings::record`].
#[derive(Debug, Clone)]
pub struct LbfgsStepper {
    settings: LbfgsSettings,
    pub(super) buffers: Buffers,
    plans: Plans,
    pub(super) history: History,
    /// The step length by which the parameters last moved along the direction.
    pub(super) t: f64,
    /// Whether there was a direction since the history was empty.
    pub(super) moved: bool,
    /// max |g| where the line starts.
    pub(super) largest_at_start: f64,
    pub(super) units: Units,
    /// Elements, padding included.
    len: usize,
}

/// Powers of two: d, y and the history's y as the device holds them are in these units. Where gradients are ordinary all are 1.
/// Where products of gradients would leave single precision, the device's vectors are small: d and y by their exponents.
#[derive(Debug, Clone)]
pub(super) struct Units {
    pub d: f64,
    /// Of the new y.
    pub y: f64,
    /// By slot.
    pub pairs: Vec<f64>,
}

impl Units {
    fn new(slots: usize) -> Self {
        Self { d: 1.0, y: 1.0, pairs: vec![1.0; slots] }
    }

    /// For a vector whose largest element is given: 1, or what makes that about 2⁻³⁰, so that its products with other elements
    /// are far below the largest float; at most 2¹²⁶, since its inverse has to be a float too. The square of 2⁴⁸, times any
    /// number of elements, is a float.
    fn of(largest: f64) -> f64 {
        if largest < 2f64.powi(48) { 1.0 } else { 2f64.powi((largest.log2() as i32 + 30).min(126)) }
    }

    /// Takes the units out of the products of y and g, in this order, with d, the new y, and a pair per slot.
    fn take_out(&self, products: &mut [f64]) {
        let columns = products.len() / 2;
        for (row, own) in products.chunks_mut(columns.max(1)).zip([self.y, 1.0]) {
            let (new, pairs) = row.split_at_mut(2);
            new[0] *= own * self.d;
            new[1] *= own * self.y;
            for ([s, y], unit) in pairs.as_chunks_mut().0.iter_mut().zip(&self.pairs) {
                *s *= own;
                *y *= own * unit;
            }
        }
    }

    /// Brings a direction's coefficients into units: those of g, s_0, y_0, s_1, y_1, …
    fn put_in(&self, direction: &mut [f64]) {
        direction.iter_mut().for_each(|coefficient| *coefficient /= self.d);
        direction.iter_mut().skip(2).step_by(2).zip(&self.pairs).for_each(|(coefficient, unit)| *coefficient *= unit);
    }
}

/// What the device measured last.
struct Measured {
    /// g·d.
    slope: f64,
    /// max |d|.
    largest_d: f64,
    /// max |g|.
    largest_g: f64,
    /// Σ |g|.
    sum_g: f64,
}

impl LbfgsStepper {
    pub(super) fn new(
        settings: LbfgsSettings,
        blueprint: &mut Blueprint,
        arena: &Arena,
        [params, grads]: [BufferId; 2],
    ) -> Result<Self> {
        let buffers = Buffers::new(blueprint, arena, params, grads, settings.history_size);
        let plans = record::record(blueprint, arena, &buffers)?;
        let (history, units) = (History::new(settings.history_size), Units::new(settings.history_size));
        let (largest_at_start, len) = (0.0, arena.len());
        Ok(Self { settings, buffers, plans, history, t: 0.0, moved: false, largest_at_start, units, len })
    }

    /// Forgets the history: the next step starts as the first one did.
    pub fn forget(&mut self) {
        self.history = History::new(self.settings.history_size);
        (self.t, self.moved) = (0.0, false);
    }

    /// One step, of up to [`LbfgsSettings::max_iter`] iterations. The closure computes the loss of the parameters as they are
    /// in the program and writes its gradient there.
    ///
    /// # Errors
    /// What the closure returns, or a lost device. The parameters are then those from before the iteration, if the device
    /// lives.
    pub fn step<P: Program>(&mut self, program: &mut P, closure: impl FnMut(&mut P) -> Result<f64>) -> Result<LbfgsReport> {
        now(Step::new(self, program, Waits(closure)).run())
    }

    /// [`LbfgsStepper::step`] for programs that must not wait, as those in a browser.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "gpu")]
    pub async fn step_async(
        &mut self,
        program: &mut GpuProgram,
        closure: impl AsyncFnMut(&mut GpuProgram) -> Result<f64>,
    ) -> Result<LbfgsReport> {
        Step::new(self, program, Awaits(closure)).run().await
    }
}

/// A step under way.
struct Step<'a, P, H> {
    stepper: &'a mut LbfgsStepper,
    program: &'a mut P,
    host: H,
    /// At the parameters as they are: the loss, max |g|, and, before the first iteration, Σ |g|.
    loss: f64,
    largest_g: f64,
    sum_g: f64,
    evaluations: usize,
    iterations: usize,
}

impl<'a, P: Program, H: Host<P>> Step<'a, P, H> {
    fn new(stepper: &'a mut LbfgsStepper, program: &'a mut P, host: H) -> Self {
        let (loss, largest_g, sum_g) = (f64::NAN, f64::NAN, f64::NAN);
        Self { stepper, program, host, loss, largest_g, sum_g, evaluations: 0, iterations: 0 }
    }

    async fn run(mut self) -> Result<LbfgsReport> {
        let (loss, measured) = self.evaluate(self.stepper.plans.measure).await?;
        (self.loss, self.largest_g) = (loss, measured.largest_g);
        // A sum beyond the float's range is at most this.
        self.sum_g = measured.sum_g.min(measured.largest_g * self.stepper.len as f64);
        let stop = if !(loss.is_finite() && self.largest_g.is_finite()) {
            LbfgsStop::NotFinite
        } else if self.largest_g <= self.stepper.settings.tolerance_grad {
            LbfgsStop::Gradient
        } else {
            loop {
                if let Some(stop) = self.iterate().await? {
                    break stop;
                }
            }
        };
        let Self { evaluations, iterations, .. } = self;
        Ok(LbfgsReport { first_loss: loss, loss: self.loss, evaluations, iterations, stop })
    }

    async fn iterate(&mut self) -> Result<Option<LbfgsStop>> {
        self.iterations += 1;
        let line = self.find_direction().await?;
        let settings = &self.stepper.settings;
        if !(line.slope.is_finite() && line.largest_d.is_finite()) {
            return Ok(Some(LbfgsStop::NotFinite));
        }
        if line.slope > -settings.tolerance_change {
            return Ok(Some(LbfgsStop::Slope));
        }
        let t = settings.lr * if self.stepper.moved { 1.0 } else { (1.0 / self.sum_g).min(1.0) };
        let before = self.loss;
        let moved = match settings.line_search {
            LineSearch::None => self.move_by(t).await,
            LineSearch::StrongWolfe => self.search(t, &line).await,
        };
        if !matches!(moved, Ok(Some(_))) {
            // The start of the line is the last good point.
            self.program.run(self.stepper.plans.go_back, 1)?;
        }
        let Some(t) = moved? else { return Ok(Some(LbfgsStop::NotFinite)) };
        (self.stepper.t, self.stepper.moved) = (t, true);
        Ok(self.stops(t * line.largest_d, before))
    }

    /// The first of the rules that says stop, in the order of PyTorch.
    fn stops(&self, movement: f64, before: f64) -> Option<LbfgsStop> {
        let settings = &self.stepper.settings;
        let rules = [
            (self.iterations == settings.max_iter, LbfgsStop::Iterations),
            (self.evaluations >= settings.evaluations(), LbfgsStop::Evaluations),
            (self.largest_g <= settings.tolerance_grad, LbfgsStop::Gradient),
            (movement <= settings.tolerance_change, LbfgsStop::Step),
            ((self.loss - before).abs() < settings.tolerance_change, LbfgsStop::Loss),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, stop)| stop)
    }

    /// Takes the last movement into the history, and starts a line in the new direction.
    async fn find_direction(&mut self) -> Result<Measured> {
        let LbfgsStepper { buffers, plans, history, t, moved, largest_at_start, units, .. } = &mut *self.stepper;
        if *moved {
            units.y = Units::of(self.largest_g.max(*largest_at_start));
            write_coefficients(self.program, buffers, *t * units.d, units.y.recip(), &[])?;
            self.program.run(plans.compare(history.len()), 1)?;
            let mut products = self.host.floats(self.program, buffers.products).await?;
            products.truncate(Products::len(plans.looked_at(history.len())));
            units.take_out(&mut products);
            if let Some(slot) = history.observe(&Products { values: &products }, *t) {
                self.program.run(plans.store[slot], 1)?;
                units.pairs[slot] = units.y;
            }
        }
        // The history has this movement now, and must not take it in again.
        (*t, *largest_at_start) = (0.0, self.largest_g);
        let mut direction = history.direction();
        direction.resize(1 + 2 * plans.looked_at(history.len()), 0.0);
        // With a history, directions are as long as steps.
        units.d = if history.len() == 0 { Units::of(self.largest_g) } else { 1.0 };
        units.put_in(&mut direction);
        write_coefficients(self.program, buffers, 0.0, 1.0, &direction)?;
        self.program.run(plans.direct(history.len()), 1)?;
        self.program.run(plans.start_line, 1)?;
        self.measured().await
    }

    /// A step of the given length, whatever the loss becomes: t, unless it becomes infinite or NaN. The last iteration does not
    /// look.
    async fn move_by(&mut self, t: f64) -> Result<Option<f64>> {
        self.go(t)?;
        if self.iterations < self.stepper.settings.max_iter {
            let (loss, measured) = self.evaluate(self.stepper.plans.measure).await?;
            if !(loss.is_finite() && measured.largest_g.is_finite()) {
                return Ok(None);
            }
            (self.loss, self.largest_g) = (loss, measured.largest_g);
        }
        Ok(Some(t))
    }

    /// A step to the best point of the line that the search finds.
    async fn search(&mut self, t: f64, line: &Measured) -> Result<Option<f64>> {
        let plans = self.stepper.plans.clone();
        let (loss, slope, largest) = (self.loss, line.slope, self.largest_g);
        let start = Point { t: 0.0, loss, slope, largest, gradient: Gradient::Start };
        let trials = self.stepper.settings.evaluations().saturating_sub(self.evaluations);
        let best = strong_wolfe(start, t, line.largest_d, trials, async |t, keep| {
            if keep {
                self.program.run(plans.keep, 1)?;
            }
            self.go(t)?;
            let (loss, Measured { slope, largest_g: largest, .. }) = self.evaluate(plans.measure_on_line).await?;
            let point = Point { t, loss, slope, largest, gradient: Gradient::Last };
            let finite = [loss, slope, largest].iter().all(|number| number.is_finite());
            // Too far, like a loss that is too high.
            Ok(if finite { point } else { Point { loss: f64::INFINITY, slope: f64::INFINITY, ..point } })
        })
        .await?;
        self.go(best.t)?;
        match best.gradient {
            Gradient::Start => self.program.run(plans.take_start, 1)?,
            Gradient::Kept => self.program.run(plans.take_kept, 1)?,
            Gradient::Last => {}
        }
        (self.loss, self.largest_g) = (best.loss, best.largest);
        Ok(Some(best.t))
    }

    /// x = start + t·d.
    fn go(&mut self, t: f64) -> Result<()> {
        write_coefficients(self.program, &self.stepper.buffers, t * self.stepper.units.d, 1.0, &[])?;
        self.program.run(self.stepper.plans.go, 1)
    }

    /// The loss, and what a plan measures there.
    async fn evaluate(&mut self, plan: PlanId) -> Result<(f64, Measured)> {
        self.evaluations += 1;
        let loss = self.host.loss(self.program).await?;
        self.program.run(plan, 1)?;
        Ok((loss, self.measured().await?))
    }

    /// Waits for the device, or awaits it.
    async fn measured(&mut self) -> Result<Measured> {
        let scalars = self.host.floats(self.program, self.stepper.buffers.scalars).await?;
        let (scalar, unit) = (|place: Scalar| scalars[place as usize], self.stepper.units.d);
        let (slope, largest_d) = (scalar(Scalar::Slope) * unit, scalar(Scalar::LargestD) * unit);
        Ok(Measured { slope, largest_d, largest_g: scalar(Scalar::LargestG), sum_g: scalar(Scalar::SumG) })
    }
}

fn write_coefficients<P: Program>(program: &mut P, buffers: &Buffers, t: f64, unit: f64, direction: &[f64]) -> Result<()> {
    let coefficients: Vec<P::Float> = Buffers::coefficients(t, unit, direction).into_iter().map(P::Float::of).collect();
    program.write(buffers.coefficients, 0, 0, &coefficients)
}
