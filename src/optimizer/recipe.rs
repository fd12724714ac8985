//! What to do in a step, as settings.

use super::domain::{ClipSet, Domain};
use super::follower::Follower;
use super::group::{DEFAULT, Group, Rules, Select};
use super::modifier::{Accumulation, Average, Clip, Lookahead};
use crate::plan::{Half, LossScale, NormKind, PerLane, Storage, Tensor};
use crate::rule::{AnyRule, Decay, Layerwise, Rule};
use std::ops::Range;
use std::sync::Arc;

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
///
/// Numbers may differ by lane: those of the rules, and those of the functions below that take an `impl Into<PerLane<…>>`, as
/// one for all lanes or as an array of one per lane.
///
/// ```
/// use thalweg::{Decay, Recipe, Sgd};
///
/// let recipe = Recipe::population([Sgd::default(), Sgd::default()]).clip_norm([1.0, 10.0]).weight_decay([0.0, 0.1].map(Decay::Decoupled));
/// ```
///
/// With the feature `serde` a recipe can be written to a file and read from one. Keys are the names of the functions below, and
/// what is left out is as in [`Recipe::new`]. Groups are read if their tensors are described by data ([`Recipe::group_of`]),
/// rules if they are those of this crate or known by [`register_rule`](crate::register_rule). An unknown key is an error with
/// the nearest name:
///
/// ```toml
/// clip = { norm = { max = 1.0 } }
/// weight_decay = { decoupled = 0.1 }
///
/// [[groups]]
/// rules = [{ rule = "adam", lr = 3e-4, beta2 = 0.95 }]
///
/// [[groups]]
/// name = "biases"
/// tensors = { named = "*.bias" }
/// rules = [{ rule = "sgd", lr = 0.1 }]
///
/// [[schedules]]
/// setting = "lr"
/// scale.warmup = { start = 0, steps = 100, then.cosine = { from = 1, steps = 900 } }
/// ```
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The first takes what no other takes.
    pub(super) groups: Vec<Group>,
    pub(super) clips: Option<PerLane<Clip>>,
    pub(super) skip_bad: bool,
    /// Bad steps in a row after which steps are errors.
    pub(super) max_bad_steps: Option<u32>,
    pub(super) grad_scale: PerLane<f64>,
    pub(super) loss_scale: Option<PerLane<LossScale>>,
    pub(super) l1: PerLane<f64>,
    pub(super) decay: Option<PerLane<Decay>>,
    pub(super) average: Option<PerLane<Average>>,
    pub(super) lookahead: Option<PerLane<Lookahead>>,
    pub(super) accumulation: Option<Accumulation>,
    pub(super) rho: Option<PerLane<f64>>,
    pub(super) half: Option<Half>,
    pub(super) state: Storage,
    pub(super) zero_grads: bool,
    pub(super) cautious: bool,
    pub(super) centralise: bool,
    pub(super) inspect: bool,
    /// The elements that steps move, where they are not all.
    pub(super) part: Option<Range<usize>>,
    pub(super) clip_sets: Vec<ClipSet>,
    pub(super) schedules: Vec<Follower>,
}

impl<R: Rule> From<R> for Box<dyn AnyRule> {
    fn from(rule: R) -> Self {
        Box::new(rule)
    }
}

impl Recipe {
    /// One lane, one rule for all tensors that no [`Recipe::group`] takes.
    pub fn new(rule: impl Into<Box<dyn AnyRule>>) -> Self {
        Self::population([rule])
    }

    /// One lane per rule, for all tensors that no [`Recipe::group`] takes. Lanes may differ in numbers, but not in what changes
    /// the kernel: the rule and its switches.
    pub fn population(rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>) -> Self {
        let rules = rules.into_iter().map(Into::into).collect();
        Self {
            groups: vec![Group { name: DEFAULT.into(), takes: Select::AtLeast(0), rules, domain: Domain::Global }],
            clips: None,
            skip_bad: false,
            max_bad_steps: None,
            grad_scale: 1.0.into(),
            loss_scale: None,
            l1: 0.0.into(),
            decay: None,
            average: None,
            lookahead: None,
            accumulation: None,
            rho: None,
            half: None,
            state: Storage::F32,
            zero_grads: false,
            cautious: false,
            centralise: false,
            inspect: false,
            part: None,
            clip_sets: Vec::new(),
            schedules: Vec::new(),
        }
    }

    /// A recipe of one lane with the same settings in this many lanes; one of several lanes stays as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Recipe, Sgd};
    ///
    /// assert_eq!(Recipe::new(Sgd::default()).repeated(3).lanes(), 3);
    /// ```
    pub fn repeated(mut self, lanes: usize) -> Self {
        if let [rule] = &self.groups[0].rules[..] {
            self.groups[0].rules = vec![rule.clone(); lanes];
        }
        self
    }

    /// Gives tensors a rule of their own: those for which `takes` returns true, and that no group named before takes.
    /// Everything else goes by the rule of [`Recipe::new`], as the group `default`. The rule is one for all lanes, or an array
    /// of one per lane.
    ///
    /// # Examples
    ///
    /// Biases and other vectors without weight decay:
    ///
    /// ```
    /// use thalweg::{AdamW, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let plain = AdamW { weight_decay: 0.0, ..Default::default() };
    /// let recipe = Recipe::new(AdamW::default()).group("no_decay", |t| t.shape.len() < 2, plain);
    /// let tensors: [(&str, &[usize]); 2] = [("weight", &[3, 4]), ("bias", &[3])];
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors)?;
    /// optimizer.set("no_decay", "lr", 0.01)?;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn group(self, name: &str, takes: impl Fn(&Tensor) -> bool + Send + Sync + 'static, rules: impl Into<Rules>) -> Self {
        self.group_of(name, Select::By(Arc::new(takes)), rules)
    }

    /// [`Recipe::group`] of tensors that are described by data.
    pub fn group_of(mut self, name: &str, takes: Select, rules: impl Into<Rules>) -> Self {
        self.groups.push(Group { name: name.into(), takes, rules: rules.into().0, domain: Domain::Global });
        self
    }

    /// Scales each lane's gradient so that its global L2 norm is at most `max_norm`, by `min(1, max_norm / (norm + 1e-6))` as
    /// `torch.nn.utils.clip_grad_norm_`, however large the gradient. A step with an element that is not finite does nothing but
    /// count as skipped. With infinity nothing is scaled down: the norm is only measured, for
    /// [`Optimizer::report`](super::Optimizer::report) and samples.
    ///
    /// If the norm is more than 8e37 times the bound, the coefficient is below the normal range of `f32`. It then has fewer
    /// digits, and is 0 on GPUs that have no such numbers: the gradient is 0 in that step, which is within the bound. More
    /// precision would cost a second factor for each element.
    ///
    /// The norm is that of all groups but those of [`Recipe::clip_norm_of`], and those whose directions are made orthogonal, as
    /// [`Muon`](crate::Muon)'s: their steps do not depend on the size of their gradients, and large ones among them would
    /// stop all other groups. Where all groups are orthogonal, the norm is theirs.
    pub fn clip_norm(self, max_norm: impl Into<PerLane<f64>>) -> Self {
        let clip = |max| Clip::Norm { max, kind: NormKind::L2 };
        self.clip(max_norm.into().each().map(clip).collect::<Vec<_>>())
    }

    /// Clips some groups together by an L2 norm of their own, apart from all others; else as [`Recipe::clip_norm`]. A bound is
    /// above 0. For a norm of all groups, those with orthogonal directions included, name them all.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Muon, Recipe};
    ///
    /// let recipe = Recipe::new(AdamW::default()).group("matrices", |t| t.shape.len() == 2, Muon::default());
    /// let apart = recipe.clone().clip_norm(1.0).clip_norm_of(["matrices"], 10.0);
    /// let together = recipe.clip_norm_of(["default", "matrices"], 1.0);
    /// ```
    pub fn clip_norm_of<'a>(mut self, groups: impl IntoIterator<Item = &'a str>, max_norm: impl Into<PerLane<f64>>) -> Self {
        self.clip_sets.push(ClipSet { groups: groups.into_iter().map(String::from).collect(), max: max_norm.into() });
        self
    }

    /// Bounds the gradient, as `torch.nn.utils.clip_grad_norm_` or `clip_grad_value_`, after the scales are taken out of it.
    /// Bad steps are skipped from here on: a bound would hide NaN.
    pub fn clip(mut self, clip: impl Into<PerLane<Clip>>) -> Self {
        self.clips = Some(clip.into());
        self
    }

    /// A step with any NaN or infinity in its gradient does nothing: parameters, planes and the count of applied steps stay,
    /// and with them bias corrections and schedules. Clipping and loss scaling include this.
    pub fn skip_bad(mut self) -> Self {
        self.skip_bad = true;
        self
    }

    /// After `steps` bad steps in a row of any lane, at least 1, a step is [`Error::BadSteps`](crate::Error::BadSteps): most
    /// likely no step will be good again. Steps count as bad where the recipe skips them. Default: no bound.
    ///
    /// No step waits for it. The host asks for the device's counters every `steps` steps, or every 128 if that is less, so a
    /// few more bad steps may be skipped before the error comes. Such a step is not made; the one after it is, and after as
    /// many more bad steps in that row the error comes again.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Error, Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(Sgd::default()).skip_bad().max_bad_steps(2);
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[1])])?;
    /// optimizer.set_grads("w", &[f32::NAN])?;
    /// optimizer.steps(2)?;
    /// assert_eq!(optimizer.step(), Err(Error::BadSteps { lane: 0, in_a_row: 2, allowed: 2 }));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn max_bad_steps(mut self, steps: u32) -> Self {
        self.max_bad_steps = Some(steps);
        self
    }

    /// Multiplies every gradient by a constant, finite and above 0: `1/n` makes the mean of `n` micro-batches of their sum.
    pub fn grad_scale(mut self, scale: impl Into<PerLane<f64>>) -> Self {
        self.grad_scale = scale.into();
        self
    }

    /// Divides every gradient by a loss scale that the device keeps, as `torch.amp.GradScaler`. The loss has to be multiplied
    /// by it before the backward pass; [`Optimizer::scalars_buffer`](super::Optimizer::scalars_buffer) says where it stands.
    /// Bad steps are skipped.
    pub fn loss_scale(mut self, rule: impl Into<PerLane<LossScale>>) -> Self {
        self.loss_scale = Some(rule.into());
        self
    }

    /// Adds an L1 penalty, finite and at least 0: `d = g + l1·sign(x)`. Default 0.
    pub fn l1(mut self, l1: impl Into<PerLane<f64>>) -> Self {
        self.l1 = l1.into();
        self
    }

    /// Adds a weight decay to a rule that has none of its own, or whose own is 0: coupled, decoupled, or independent of the
    /// learning rate. λ is finite and at least 0, and below 1 where it is independent. Schedules of `lr` count for a decoupled
    /// one. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Decay, Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// // Keras' SGD with weight_decay.
    /// let recipe = Recipe::new(Sgd { lr: 0.5, ..Default::default() }).weight_decay(Decay::Decoupled(0.25));
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[1])])?;
    /// optimizer.set_params("w", &[8.0])?;
    /// optimizer.set_grads("w", &[2.0])?;
    /// optimizer.step()?;
    /// assert_eq!(optimizer.params("w")?, [8.0 * (1.0 - 0.125) - 1.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn weight_decay(mut self, decay: impl Into<PerLane<Decay>>) -> Self {
        self.decay = Some(decay.into());
        self
    }

    /// Keeps an average of the parameters beside them: [`Optimizer::averaged`](super::Optimizer::averaged). Costs 8 bytes of
    /// traffic and 4 of memory per parameter.
    pub fn average(mut self, average: impl Into<PerLane<Average>>) -> Self {
        self.average = Some(average.into());
        self
    }

    /// Makes slow weights that the parameters return to now and then.
    pub fn lookahead(mut self, lookahead: impl Into<PerLane<Lookahead>>) -> Self {
        self.lookahead = Some(lookahead.into());
        self
    }

    /// Makes a step out of several micro-batches; their sum takes 4 bytes per parameter, or more where it is a tree
    /// ([`SumOrder`](crate::SumOrder)).
    pub fn accumulate(mut self, accumulation: Accumulation) -> Self {
        self.accumulation = Some(accumulation);
        self
    }

    /// Sharpness-aware minimisation: before each step [`Optimizer::ascend`](super::Optimizer::ascend) moves the parameters by
    /// `rho` up the gradient, finite and above 0 (0.05 in the paper), and the step uses the gradient from there.
    ///
    /// ```text
    /// ascend:  before = x;  x = x + rho · g / (‖g‖ + 1e-12)
    /// step:    x = rule(before, gradient at x)
    /// ```
    ///
    /// Source: Foret et al. 2021, arXiv:2010.01412.
    pub fn sam(mut self, rho: impl Into<PerLane<f64>>) -> Self {
        self.rho = Some(rho.into());
        self
    }

    /// Keeps a copy of the parameters in 16 bits: [`Optimizer::half`](super::Optimizer::half). It is written with each step,
    /// and with [`Optimizer::set_params`](super::Optimizer::set_params).
    pub fn half_copy(mut self, half: Half) -> Self {
        self.half = Some(half);
        self
    }

    /// How the planes of the rules are kept. [`Storage::Bf16`] halves their memory and its traffic: AdamW then moves 20 bytes
    /// per parameter and step, not 28. Steps compute in single precision all the same; what they leave is rounded as
    /// [`Rule::rounding`] says, first moments to the nearest, running means of squares at random, since their small changes
    /// would be lost otherwise. The random numbers follow from step, plane and place: a run that is resumed, a lane, or memory
    /// of the caller has the same bits. Second moments by rows and columns stay floats. Files have all floats in single
    /// precision, and fit either storage; a run goes on with the same bits where its storage is the same. Default:
    /// [`Storage::F32`].
    ///
    /// Recording is [`Error::Conflict`](crate::Error::Conflict) where a rule in use has a plane that needs all its bits (ASGD
    /// and schedule-free rules, centered RMSprop), and for [`Storage::F16`], whose range squares leave.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Optimizer, Recipe, cpu::Cpu, plan::Storage};
    ///
    /// let recipe = Recipe::new(AdamW::default()).state(Storage::Bf16);
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[1])])?;
    /// optimizer.set_grads("w", &[1.0])?;
    /// optimizer.step()?;
    /// // 0.1 has no nearer neighbour in bfloat16.
    /// assert_eq!(optimizer.state("w", "m")?, [0.10009765625]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn state(mut self, storage: Storage) -> Self {
        self.state = storage;
        self
    }

    /// Sets gradients to 0 once they are used, also by a step that is skipped.
    pub fn zero_grads(mut self) -> Self {
        self.zero_grads = true;
        self
    }

    /// Leaves out the elements of a step that go against the gradient, and makes up for them in each tensor:
    ///
    /// ```text
    /// u = −rule(0, d)
    /// x = decay · x − u · [u·d > 0] · n / max(#[u·d > 0], n/1000)
    /// ```
    ///
    /// Source: Liang et al. 2024, arXiv:2411.16085.
    pub fn cautious(mut self) -> Self {
        self.cautious = true;
        self
    }

    /// Takes its mean out of the gradient of each row of a tensor of two dimensions or more (each output of a layer), in place
    /// and before anything else. Source: Yong et al. 2020, arXiv:2004.01461.
    pub fn centralise(mut self) -> Self {
        self.centralise = true;
        self
    }

    /// Keeps each tensor's norm of the gradient, and lets [`Optimizer::step_inspected`](super::Optimizer::step_inspected) find
    /// how far each tensor moves. No step changes by it, and none is skipped for it. Costs a norm where the recipe needs none,
    /// one dispatch per step, and 4 bytes of memory per parameter.
    pub fn inspect(mut self) -> Self {
        self.inspect = true;
        self
    }

    /// Moves only the elements of a range of the arena, whole chunks of it, where several machines share the state of an
    /// optimizer; all of them again with `None`. Planes of other elements are never touched: on the CPU engine they take no
    /// memory.
    ///
    /// A step then wants the norms of the others before it: [`Stepper::measure_part`](super::Stepper::measure_part) and
    /// [`Stepper::put_norms`](super::Stepper::put_norms), and gradients come as micro-batches or by
    /// [`Stepper::put_sum_piece`](super::Stepper::put_sum_piece). What has numbers of whole tensors cannot be parted: rules
    /// that trust norms (LARS, LAMB, NovoGrad) or look at matrices (Adafactor, Muon), cautious steps, bounds of each tensor,
    /// centralised gradients, inspection, nor can ascents and copies in 16 bits.
    pub fn part(mut self, own: impl Into<Option<Range<usize>>>) -> Self {
        self.part = own.into();
        self
    }

    /// Which norm a step computes: the clip's; L2 for rules that trust it and where it is to be looked at; else the maximum,
    /// which is the cheapest way to find what is not finite; none if nothing needs one.
    pub(super) fn norm(&self) -> Option<NormKind> {
        let trusts = self.rules().any(|(_, _, rule)| rule.layerwise() == Layerwise::Before);
        match self.clip_kind() {
            Some(clip) => Some(clip.kind()),
            None if trusts || self.inspect || !self.clip_sets.is_empty() => Some(NormKind::L2),
            None => self.guards().then_some(NormKind::Max),
        }
    }

    /// Whether bad steps are skipped. A recipe that only looks at a norm, or trusts it, does not skip them.
    pub(super) fn guards(&self) -> bool {
        self.skip_bad || self.loss_scale.is_some() || self.clips.is_some() || !self.clip_sets.is_empty()
    }

    /// What is clipped: lanes differ in the bound alone.
    pub(super) fn clip_kind(&self) -> Option<Clip> {
        self.clips.as_ref().and_then(|clips| clips.each().next())
    }

    /// Whether a norm of several groups is clipped.
    pub(super) fn clips_norm(&self) -> bool {
        matches!(self.clip_kind(), Some(Clip::Norm { .. }))
    }

    /// Whether each tensor's gradient is bounded by its own norm.
    pub(super) fn bounds_tensors(&self) -> bool {
        matches!(self.clip_kind(), Some(Clip::Tensor { .. } | Clip::Normalise(_)))
    }

    /// Whether gradients are divided by a loss scale.
    pub(crate) fn scales_loss(&self) -> bool {
        self.loss_scale.is_some()
    }

    /// Members of the population.
    pub fn lanes(&self) -> usize {
        self.groups[0].rules.len()
    }

    /// The rule of a group in a lane, once each group has one per lane.
    pub(super) fn rule(&self, lane: usize, group: usize) -> &dyn AnyRule {
        &*self.groups[group].rules[lane]
    }

    /// All rules with their lanes and groups, lane after lane, once each group has one per lane.
    pub(super) fn rules(&self) -> impl Iterator<Item = (usize, usize, &dyn AnyRule)> {
        let of_lane = move |lane| (0..self.groups.len()).map(move |group| (lane, group, self.rule(lane, group)));
        (0..self.lanes()).flat_map(of_lane)
    }
}
