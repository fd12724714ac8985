//! What to do in a step, as settings.

use super::Stepper;
use crate::error::{Error, Result, range};
use crate::plan::{Arena, BufferId, CHUNK, Control, Counter, Layout, Norm, Op, Plan, SLOTS, Scalar, Update};
use crate::rule::{AnyRule, Row, Rule};

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
    pub(super) max_norm: Option<f64>,
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
        Self { rules: rules.into_iter().map(|rule| vec![rule.into()]).collect(), max_norm: None }
    }

    /// One lane, one rule per group; tensors name their group by its index.
    pub fn groups(rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>) -> Self {
        Self { rules: vec![rules.into_iter().map(Into::into).collect()], max_norm: None }
    }

    /// Scales each lane's gradient so that its global L2 norm is at most `max_norm`, by `min(1, max_norm / (norm + 1e-6))` as
    /// `torch.nn.utils.clip_grad_norm_`. A step whose norm is not finite does nothing but count as skipped.
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.max_norm = Some(max_norm);
        self
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
        let partials = layout.floats("partials", arena.len().div_ceil(CHUNK));
        let rows = layout.floats("rows", SLOTS * groups * Row::LEN);
        let current = layout.floats("current", groups * Row::LEN);
        let counts = layout.indices("counts", Counter::LEN);
        let scalars = layout.floats("scalars", Scalar::LEN);
        let table = (groups > 1).then(|| layout.shared_indices("groups", arena.groups().len()));
        let plane = |plane: usize| (plane, layout.floats(&format!("plane {}", rule.state_names()[plane]), arena.len()));
        let planes: Vec<(usize, BufferId)> = rule.planes().into_iter().map(plane).collect();

        if self.max_norm.is_some() {
            plan.push(Op::Norm(Norm { grads, partials }));
        }
        let partials = self.max_norm.map(|_| partials);
        plan.push(Op::Control(Control { partials, rows, current, counts, scalars, groups }));
        let ids = planes.iter().map(|(_, id)| *id).collect();
        plan.push(Op::Update(Update { rule: rule.clone(), params, grads, planes: ids, current, groups: table }));
        let table = table.map(|table| (table, arena.groups()));
        Ok(Stepper::new(self.clone(), arena.len(), rows, counts, scalars, planes, table))
    }

    fn check(&self, arena: &Arena) -> Result<()> {
        let first = self.rules.first().and_then(|groups| groups.first());
        let first = first.ok_or_else(|| Error::Empty { what: "the list of rules".into() })?;
        let kernel = |rule: &dyn AnyRule| format!("{} with {:?} and planes {:?}", rule.name(), rule.overrides(), rule.planes());
        for rule in self.rules.iter().flatten() {
            rule.check()?;
            if kernel(&**rule) != kernel(&**first) {
                return Err(Error::shape("a rule of the population", kernel(&**first), kernel(&**rule)));
            }
        }
        if let Some(max_norm) = self.max_norm {
            range::positive("clip_norm", max_norm)?;
        }
        let groups = self.rules[0].len();
        for tensor in arena.tensors() {
            let field = format!("group of tensor '{}'", tensor.name);
            range::require(tensor.group < groups, &field, tensor.group, &format!("below {groups}"))?;
        }
        Ok(())
    }
}
