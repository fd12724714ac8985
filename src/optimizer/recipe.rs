//! What to do in a step, as settings.

use super::Stepper;
use super::stepper::Buffers;
use crate::error::{Error, Result, range};
use crate::plan::{
    Arena, BufferId, Control, Counter, Extras, Layout, LossScale, Norm, NormKind, Op, Plan, SLOTS, Scalar, Update,
};
use crate::rule::{AnyRule, Row, Rule, Setting};
use crate::schedule::Schedule;

/// A rule with its settings, per lane and group, and what happens to the gradient before it.
///
/// # Examples
///
/// Three lanes that differ in their learning rate:
///
/// ```
/// use thalweg::{Recipe, Sgd};
///
/// let rules = [0.1, 0.01, 0.001].map(|lr| Sgd { lr, ..Default::default() });
/// let recipe = Recipe::population(rules).clip_norm(1.0);
/// assert_eq!(recipe.lanes(), 3);
/// ```
#[derive(Debug, Clone)]
pub struct Recipe {
    /// By lane, then by group.
    pub(super) rules: Vec<Vec<Box<dyn AnyRule>>>,
    pub(super) clip: Option<Clip>,
    pub(super) skip_bad: bool,
    pub(super) grad_scale: f64,
    pub(super) loss_scale: Option<LossScale>,
    pub(super) l1: f64,
    schedules: Vec<(String, Schedule)>,
}

/// What bounds a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip {
    /// The whole gradient of a lane is scaled down to a global norm of at most `max`.
    Norm {
        /// The bound, finite and above 0.
        max: f64,
        /// Which norm.
        kind: NormKind,
    },
    /// Each element is clamped to ± this bound, finite and above 0.
    Value(f64),
}

impl<R: Rule> From<R> for Box<dyn AnyRule> {
    fn from(rule: R) -> Self {
        Box::new(rule)
    }
}

impl Recipe {
    /// One lane, one group.
    pub fn new(rule: impl Into<Box<dyn AnyRule>>) -> Self {
        Self::population([rule])
    }

    /// One lane per rule, one group. Lanes may differ in numbers, but not in what changes the kernel: the rule and its switches.
    pub fn population(rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>) -> Self {
        Self { rules: rules.into_iter().map(|rule| vec![rule.into()]).collect(), ..Self::empty() }
    }

    /// One lane, one rule per group; tensors name their group by its index.
    pub fn groups(rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>) -> Self {
        Self { rules: vec![rules.into_iter().map(Into::into).collect()], ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            rules: Vec::new(),
            clip: None,
            skip_bad: false,
            grad_scale: 1.0,
            loss_scale: None,
            l1: 0.0,
            schedules: Vec::new(),
        }
    }

    /// Scales each lane's gradient so that its global L2 norm is at most `max_norm`, by `min(1, max_norm / (norm + 1e-6))` as
    /// `torch.nn.utils.clip_grad_norm_`. A step whose norm is not finite does nothing but count as skipped.
    pub fn clip_norm(self, max_norm: f64) -> Self {
        self.clip(Clip::Norm { max: max_norm, kind: NormKind::L2 })
    }

    /// Bounds the gradient, as `torch.nn.utils.clip_grad_norm_` or `clip_grad_value_`, after the scales are taken out of it.
    /// Bad steps are skipped from here on: a bound would hide NaN.
    pub fn clip(mut self, clip: Clip) -> Self {
        self.clip = Some(clip);
        self
    }

    /// A step with any NaN or infinity in its gradient does nothing: parameters, planes and the count of applied steps stay, and
    /// with them bias corrections and schedules. Clipping and loss scaling include this.
    pub fn skip_bad(mut self) -> Self {
        self.skip_bad = true;
        self
    }

    /// Multiplies every gradient by a constant, finite and above 0: `1/n` makes the mean of `n` micro-batches of their sum.
    pub fn grad_scale(mut self, scale: f64) -> Self {
        self.grad_scale = scale;
        self
    }

    /// Divides every gradient by a loss scale that the device keeps, as `torch.amp.GradScaler`. The loss has to be multiplied by
    /// it before the backward pass; [`Stepper::scalars`](super::Stepper::scalars) says where it stands. Bad steps are skipped.
    pub fn loss_scale(mut self, rule: LossScale) -> Self {
        self.loss_scale = Some(rule);
        self
    }

    /// Adds an L1 penalty, finite and at least 0: `d = g + l1·sign(x)`. Default 0.
    pub fn l1(mut self, l1: f64) -> Self {
        self.l1 = l1;
        self
    }

    /// Lets a setting follow a schedule: at the `t`-th applied step it is the rule's own value times the schedule's at step
    /// `t − 1`. Skipped steps do not advance it. Lanes and groups keep their own values and share the schedule.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Recipe, schedule::{Cosine, Schedule}};
    ///
    /// let cosine: Schedule = Cosine { steps: 900, ..Default::default() }.into();
    /// let recipe = Recipe::new(AdamW::default()).schedule("lr", cosine.warmup(100, 0.0));
    /// ```
    pub fn schedule(mut self, setting: &str, schedule: impl Into<Schedule>) -> Self {
        self.schedules.push((setting.into(), schedule.into()));
        self
    }

    /// A rule with its scheduled settings at the values that `value` gives.
    pub(super) fn scheduled(&self, rule: &dyn AnyRule, value: impl Fn(&Schedule) -> f64) -> Result<Box<dyn AnyRule>> {
        let mut rule = rule.boxed();
        for (name, schedule) in &self.schedules {
            let mut settings = rule.settings();
            let known: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
            match settings.iter_mut().find(|(known, _)| known == name) {
                Some((_, Setting::Number(number))) => **number *= value(schedule),
                Some(_) => return Err(Error::setting(&format!("schedule of {name}"), "given", "only for numbers")),
                None => return Err(Error::unknown("setting", name, &known)),
            }
        }
        Ok(rule)
    }

    /// The norm that a step has to know: the one to clip by, or else the cheapest that finds what is not finite.
    fn norm(&self) -> Option<NormKind> {
        match self.clip {
            Some(Clip::Norm { kind, .. }) => Some(kind),
            Some(Clip::Value(_)) => Some(NormKind::Max),
            None => (self.skip_bad || self.loss_scale.is_some()).then_some(NormKind::Max),
        }
    }

    /// The row of a rule's `t`-th step with everything that this recipe adds to it.
    pub(super) fn row(&self, rule: &dyn AnyRule, t: u64) -> Row {
        let mut row = match self.scheduled(rule, |schedule| schedule.value(t - 1)) {
            Ok(scheduled) => scheduled.full_row(t),
            Err(_) => unreachable!("names were checked when the recipe was recorded"),
        };
        row.0[Row::SCALE] *= self.grad_scale;
        row.0[Row::L1] = self.l1;
        match self.clip {
            Some(Clip::Norm { max, .. }) => row.0[Row::MAX_NORM] = max,
            Some(Clip::Value(max)) => row.0[Row::MAX_VALUE] = max,
            None => {}
        }
        row
    }

    /// Members of the population.
    pub fn lanes(&self) -> usize {
        self.rules.len()
    }

    /// Appends this recipe's operations to a plan, for parameters and gradients laid out as `arena`, and declares the buffers
    /// that they need.
    ///
    /// # Errors
    /// A setting out of its range, lanes or groups whose kernels would differ, or a tensor of a group that does not exist.
    pub fn record(
        &self,
        layout: &mut Layout,
        plan: &mut Plan,
        arena: &Arena,
        params: BufferId,
        grads: BufferId,
    ) -> Result<Stepper> {
        self.check(arena)?;
        let rule = &self.rules[0][0];
        let groups = self.rules[0].len();
        let chunks = arena.chunks();
        let partials = layout.floats("partials", chunks.len());
        let rows = layout.floats("rows", SLOTS * groups * Row::LEN);
        let current = layout.floats("current", groups * Row::LEN);
        let counts = layout.indices("counts", Counter::LEN + groups);
        let frozen = layout.indices("frozen", groups);
        let scalars = layout.floats("scalars", Scalar::LEN);
        let table = (groups > 1).then(|| layout.shared_indices("groups", arena.groups().len()));
        let plane = |plane: usize| (plane, layout.arena(&format!("plane {}", rule.state_names()[plane]), arena));
        let planes: Vec<(usize, BufferId)> = rule.planes().into_iter().map(plane).collect();

        let norm = self.norm().map(|kind| (partials, kind));
        if let Some((partials, kind)) = norm {
            plan.push(Op::Norm(Norm { kind, grads, chunks, partials, frozen }));
        }
        let loss_scale = self.loss_scale;
        plan.push(Op::Control(Control { norm, rows, current, counts, scalars, frozen, groups, loss_scale }));
        let ids = planes.iter().map(|(_, id)| *id).collect();
        let extras = Extras { max_value: matches!(self.clip, Some(Clip::Value(_))), l1: self.l1 != 0.0 };
        plan.push(Op::Update(Update { rule: rule.clone(), params, grads, planes: ids, current, groups: table, extras }));
        let table = table.map(|table| (table, arena.groups()));
        let buffers = Buffers { rows, counts, scalars, frozen, planes };
        Ok(Stepper::new(self.clone(), arena.len(), buffers, table))
    }

    fn check(&self, arena: &Arena) -> Result<()> {
        let first = self.rules.first().and_then(|groups| groups.first());
        let first = first.ok_or_else(|| Error::Empty { what: "the list of rules".into() })?;
        self.schedules.iter().try_for_each(|(_, schedule)| schedule.check())?;
        let kernel = |rule: &dyn AnyRule| format!("{} with {:?} and planes {:?}", rule.name(), rule.overrides(), rule.planes());
        for rule in self.rules.iter().flatten() {
            rule.check()?;
            // A setting has to stay in its range all the way up to the schedule's bound.
            self.scheduled(&**rule, |schedule| schedule.bound())?.check()?;
            if kernel(&**rule) != kernel(&**first) {
                return Err(Error::shape("a rule of the population", kernel(&**first), kernel(&**rule)));
            }
        }
        match self.clip {
            Some(Clip::Norm { max, .. }) => range::positive("clip_norm", max)?,
            Some(Clip::Value(max)) => range::positive("clip_value", max)?,
            None => {}
        }
        range::positive("grad_scale", self.grad_scale)?;
        range::not_negative("l1", self.l1)?;
        self.loss_scale.as_ref().map_or(Ok(()), check_loss_scale)?;
        let groups = self.rules[0].len();
        for tensor in arena.tensors() {
            let field = format!("group of tensor '{}'", tensor.name);
            range::require(tensor.group < groups, &field, tensor.group, &format!("below {groups}"))?;
        }
        Ok(())
    }
}

fn check_loss_scale(rule: &LossScale) -> Result<()> {
    let &LossScale { init, growth, backoff, interval } = rule;
    range::positive("loss_scale.init", init)?;
    range::require(growth.is_finite() && growth > 1.0, "loss_scale.growth", growth, "finite and above 1")?;
    range::require(backoff > 0.0 && backoff < 1.0, "loss_scale.backoff", backoff, "above 0 and below 1")?;
    range::require(interval > 0, "loss_scale.interval", interval, "at least 1")
}
