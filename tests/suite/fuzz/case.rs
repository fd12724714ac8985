//! A random case: tensors, rules, modifiers and operations, as plain data that prints like a program.

use crate::common::numbers::numbers;
use crate::common::options::OPTIONS;
use fastrand::Rng;
use std::fmt::{self, Display, Formatter};
use thalweg::plan::{CHUNK, Half, LossScale, NormKind};
use thalweg::schedule::{Constant, Cosine, Exponential, LinearRamp, Polynomial, Product, Schedule, Step};
use thalweg::{Accumulation, AnyRule, Average, Clip, Decay, Lookahead, Setting, SumOrder, range, rule_by_name, set};

/// A length at which elements are divided among threads.
const SHARED_OUT: usize = 32_768;

/// An optimizer, and the operations on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// By group.
    pub rules: Vec<Chosen>,
    pub lanes: usize,
    pub groups: usize,
    /// The numbers of each lane and group, lane after lane.
    pub own: Vec<Vec<(String, f64)>>,
    pub tensors: Vec<Tensor>,
    pub modifiers: Vec<Modifier>,
    pub ops: Vec<Op>,
}

/// A rule with settings that all lanes share.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub rule: &'static str,
    pub settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub group: usize,
}

impl Tensor {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A modifier of the rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Modifier {
    Clip(Clip),
    SkipBad,
    GradScale(f64),
    LossScale(LossScale),
    L1(f64),
    WeightDecay(Decay),
    Average(Average),
    Lookahead(Lookahead),
    Accumulate(Accumulation),
    Sam(f64),
    HalfCopy(Half),
    /// Moments in 16 bits, rounded at random.
    HalfState,
    ZeroGrads,
    Cautious,
    Centralise,
    Inspect,
    /// A setting follows a schedule, or is multiplied by it.
    Schedule(Option<usize>, String, Schedule),
    Scale(Option<usize>, String, Schedule),
}

/// Kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ones,
    /// Of either sign, from 0.5 to 2.
    Ordinary,
    Zeros,
    /// Some 1e-12.
    Tiny,
    /// Some 1e12.
    Huge,
    /// One element is NaN.
    Nan,
    /// One element is infinite.
    Infinite,
    /// Around the ends of single precision.
    Extreme,
}

/// Values of a kind, by a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values {
    pub kind: Kind,
    pub seed: u64,
}

impl Values {
    /// They are exact in f32.
    pub fn of(self, tensor: usize, len: usize) -> Vec<f32> {
        let seed = self.seed.wrapping_add(1000 * tensor as u64);
        let mut values = numbers(seed, len);
        let one = seed as usize % len.max(1);
        match self.kind {
            Kind::Ones => values.fill(1.0),
            Kind::Ordinary => {}
            Kind::Zeros => values.fill(0.0),
            Kind::Tiny => values.iter_mut().for_each(|x| *x *= 1e-12),
            Kind::Huge => values.iter_mut().for_each(|x| *x *= 1e12),
            Kind::Nan => values.iter_mut().skip(one).take(1).for_each(|x| *x = f32::NAN),
            Kind::Infinite => values.iter_mut().skip(one).take(1).for_each(|x| *x *= f32::INFINITY),
            Kind::Extreme => {
                let sizes = [1e30, 1.5e38, 1e-30, 1e-38, 1e20, 1e-20, 0.0, 1.0];
                values.iter_mut().enumerate().for_each(|(i, x)| *x *= sizes[(seed as usize + i) % sizes.len()]);
            }
        }
        values
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Gradients of all tensors of a lane.
    Grads(usize, Values),
    /// Parameters of one tensor of a lane.
    Params(usize, usize, Values),
    Step,
    Steps(usize),
    /// A step, with an inspection if the recipe has one.
    Inspected,
    Accumulate,
    Ascend,
    /// A setting of a group of a lane.
    Set(usize, usize, String, f64),
    /// A group of a lane is frozen, or thaws.
    Freeze(usize, usize, bool),
    /// The optimizer is dropped; a new one starts at its parameters.
    Rebuild,
    /// The optimizer is dropped; a new one goes on from a snapshot as if nothing had happened.
    Restore,
    /// Everything is read and compared.
    Look,
}

impl Case {
    /// Whether values come near the ends of the range of single precision, where the oracle in double precision gives no bound.
    pub fn is_extreme(&self) -> bool {
        let values = self.ops.iter().filter_map(|op| match op {
            Op::Grads(_, values) | Op::Params(_, _, values) => Some(values.kind),
            _ => None,
        });
        values.into_iter().any(|kind| kind == Kind::Extreme)
    }

    /// The same with one lane alone.
    pub fn alone(&self, lane: usize) -> Self {
        let ops = self.ops.iter().filter_map(|op| match op.clone() {
            Op::Grads(of, values) => (of == lane).then_some(Op::Grads(0, values)),
            Op::Params(of, tensor, values) => (of == lane).then_some(Op::Params(0, tensor, values)),
            Op::Set(of, group, setting, value) => (of == lane).then_some(Op::Set(0, group, setting, value)),
            Op::Freeze(of, group, frozen) => (of == lane).then_some(Op::Freeze(0, group, frozen)),
            other => Some(other),
        });
        let own = self.own[lane * self.groups..][..self.groups].to_vec();
        Self { lanes: 1, own, ops: ops.collect(), ..self.clone() }
    }

    /// The same with single steps.
    pub fn one_by_one(&self) -> Self {
        let ops = self.ops.iter().flat_map(|op| match op {
            Op::Steps(count) => vec![Op::Step; *count],
            other => vec![other.clone()],
        });
        Self { ops: ops.collect(), ..self.clone() }
    }

    /// The same, interrupted after every third operation.
    pub fn interrupted(&self) -> Self {
        let restored = |(index, op): (usize, &Op)| [Some(op.clone()), (index % 3 == 2).then_some(Op::Restore)];
        Self { ops: self.ops.iter().enumerate().flat_map(restored).flatten().collect(), ..self.clone() }
    }

    pub fn has(&self, wanted: impl Fn(&Modifier) -> bool) -> bool {
        self.modifiers.iter().any(wanted)
    }

    /// A random case. Neighbouring seeds have different rules, and modifiers of different kinds, so that a short run has them
    /// all.
    pub fn random(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let lanes = rng.choice([1, 1, 1, 2, 2, 3]).expect("a number");
        let groups = rng.choice([1, 1, 1, 2, 3]).expect("a number");
        let mut rules = vec![Chosen::of(rng, OPTIONS[seed as usize % OPTIONS.len()]); groups];
        for other in &mut rules[1..] {
            if rng.bool() {
                let options = *rng.choice(OPTIONS).expect("options");
                *other = Chosen::of(rng, options);
            }
        }
        // It takes matrices alone.
        let orthogonal = (rng.u8(..6) == 0).then(|| groups - 1);
        if let Some(group) = orthogonal {
            rules[group] = Chosen::of(rng, ("muon", "lr=0.02 weight_decay=0.1"));
        }
        let own = (0..lanes * groups).map(|part| if part == 0 { Vec::new() } else { rules[part % groups].own_numbers(rng) });
        let own = own.collect();
        let count = groups.max(rng.usize(1..5));
        // Every group has a tensor.
        let tensors = (0..count).map(|index| {
            let group = if index < groups { index } else { rng.usize(..groups) };
            let matrix = vec![rng.usize(1..20), rng.usize(1..20)];
            Tensor { shape: if orthogonal == Some(group) { matrix } else { shape(rng) }, group }
        });
        let tensors = tensors.collect();
        let mut case = Self { rules, lanes, groups, own, tensors, modifiers: Vec::new(), ops: Vec::new() };
        case.modifiers.push(modifier(rng, (seed / 2 % KINDS) as u8, groups));
        for _ in 0..rng.choice([0, 0, 1, 1, 2, 3, 4]).expect("a number") {
            let kind = rng.u8(..KINDS as u8);
            case.modifiers.push(modifier(rng, kind, groups));
        }
        case.ops = ops(rng, &case);
        // Last, so that all else stays as it would be without; after the first, so that few others are dropped with it.
        if seed % 5 == 2 {
            case.modifiers.insert(1, Modifier::HalfState);
        }
        case
    }
}

impl Chosen {
    /// A set of options, sometimes with a number that is 0.
    fn of(rng: &mut Rng, (rule, options): (&'static str, &str)) -> Self {
        let settings = options.split_whitespace().map(|setting| setting.split_once('=').expect("name=value"));
        let mut chosen = Self { rule, settings: settings.map(|(name, value)| (name.into(), value.into())).collect() };
        if rng.u8(..8) == 0 {
            let zero = chosen.a_zero(rng);
            chosen.settings.extend(zero);
        }
        chosen
    }

    pub fn rule(&self) -> Box<dyn AnyRule> {
        let mut rule = rule_by_name(self.rule).expect("a registered rule");
        if self.rule == "adafactor" {
            // Its default is the resolution of the engine's floats.
            set(&mut *rule, "eps1", "1.2e-7").expect("a setting");
        }
        for (name, value) in &self.settings {
            set(&mut *rule, name, value).expect("a setting");
        }
        rule
    }

    /// A number that is 0, where the rule allows it.
    fn a_zero(&self, rng: &mut Rng) -> Option<(String, String)> {
        let mut rule = self.rule();
        let numbers = rule.settings().into_iter().filter(|(_, setting)| matches!(setting, Setting::Number(_)));
        let name = rng.choice(numbers.map(|(name, _)| name).collect::<Vec<_>>())?;
        set(&mut *rule, name, "0").ok()?;
        rule.check().ok().map(|()| (name.into(), "0".into()))
    }

    /// Numbers that differ from those of the rule, as lanes and groups may have them.
    fn own_numbers(&self, rng: &mut Rng) -> Vec<(String, f64)> {
        let mut rule = self.rule();
        let mut own = Vec::new();
        for (name, setting) in rule.settings() {
            if let Setting::Number(number) = setting
                && *number != 0.0
                && rng.bool()
            {
                // A fraction stays below 1.
                let factor = if range::fraction(name, *number).is_ok() { 0.5 + 0.5 * rng.f64() } else { 1.0 + rng.f64() };
                own.push((name.to_string(), *number * factor));
            }
        }
        own
    }
}

fn shape(rng: &mut Rng) -> Vec<usize> {
    let len = rng.usize(1..150);
    let shapes = [
        vec![],
        vec![0],
        vec![1],
        vec![len],
        vec![64],
        vec![2, 2],
        vec![rng.usize(1..20), rng.usize(1..20)],
        vec![5, 13],
        vec![2, 3, rng.usize(1..9)],
        vec![match rng.u8(..40) {
            0 => SHARED_OUT + len,
            1..8 => CHUNK + len,
            _ => 2 * len,
        }],
    ];
    rng.choice(shapes).expect("a shape")
}

/// Kinds of modifiers.
const KINDS: u64 = 21;

fn modifier(rng: &mut Rng, which: u8, groups: usize) -> Modifier {
    let kind = rng.choice([NormKind::L2, NormKind::L2, NormKind::L1, NormKind::Max]).expect("a kind");
    let max = rng.choice([0.1, 1.0, 10.0, 1e3]).expect("a bound");
    match which {
        0 => Modifier::Clip(Clip::Norm { max, kind }),
        1 => Modifier::Clip(Clip::Value(max)),
        2 => Modifier::Clip(Clip::Tensor { max, kind }),
        3 => Modifier::Clip(if rng.bool() { Clip::Normalise(kind) } else { Clip::Norm { max: f64::INFINITY, kind } }),
        4 => Modifier::SkipBad,
        5 => Modifier::GradScale(rng.choice([0.25, 3.0]).expect("a scale")),
        6 => {
            let interval = rng.u32(1..4);
            let min = if rng.bool() { 0.25 } else { 1e-30 };
            Modifier::LossScale(LossScale { init: 4.0, growth: 2.0, backoff: 0.5, min, interval })
        }
        7 => Modifier::L1(0.05),
        8 => Modifier::WeightDecay(match rng.u8(..3) {
            0 => Decay::Coupled(0.1),
            1 => Decay::Decoupled(0.1),
            _ => Decay::Independent(0.01),
        }),
        9 => Modifier::Average(match rng.u8(..3) {
            0 => Average::Ema { decay: 0.0 },
            1 => Average::Ema { decay: 0.75 },
            _ => Average::Swa { start: rng.u64(1..4), every: rng.u64(1..3) },
        }),
        10 => Modifier::Lookahead(Lookahead { steps: rng.u64(1..4), alpha: if rng.bool() { 0.5 } else { 1.0 } }),
        11 => {
            let tree = SumOrder::Tree { micro_batches: rng.usize(12..18) };
            let order = if rng.bool() { tree } else { SumOrder::InTurn };
            Modifier::Accumulate(Accumulation { mean: rng.bool(), drop_bad: rng.bool(), order })
        }
        12 => Modifier::Sam(0.05),
        13 => Modifier::HalfCopy(if rng.bool() { Half::F16 } else { Half::Bf16 }),
        14 => Modifier::ZeroGrads,
        15 => Modifier::Cautious,
        16 => Modifier::Centralise,
        17 => Modifier::Inspect,
        18 => {
            let (setting, from) = rng
                .choice([("lr", 0.05), ("lr", 0.05), ("weight_decay", 0.1), ("beta1", 0.5), ("clip", 1.0)])
                .expect("a setting");
            let product = Product(vec![Constant::new(from).into(), schedule(rng)]);
            Modifier::Schedule(part(rng, groups), setting.into(), product.into())
        }
        _ => {
            let setting = rng.choice(["lr", "lr", "lr", "weight_decay", "beta1", "eps", "clip"]).expect("a setting");
            Modifier::Scale(part(rng, groups), setting.into(), schedule(rng))
        }
    }
}

/// A group, or all.
fn part(rng: &mut Rng, groups: usize) -> Option<usize> {
    (groups > 1 && rng.bool()).then(|| rng.usize(..groups))
}

fn schedule(rng: &mut Rng) -> Schedule {
    let steps = rng.u64(1..12);
    let schedule: Schedule = match rng.u8(..5) {
        0 => Cosine { to: 0.1, ..Cosine::new(1.0, steps) }.into(),
        1 => LinearRamp { start_factor: 0.25, ..LinearRamp::new(1.0, steps) }.into(),
        2 => Step { gamma: 0.5, ..Step::new(1.0, steps) }.into(),
        3 => Exponential { steps, ..Exponential::new(1.0, 0.9) }.into(),
        _ => Polynomial { power: 2.0, to: 0.0, ..Polynomial::new(1.0, steps) }.into(),
    };
    if rng.u8(..3) == 0 { schedule.warmup(rng.u64(1..5), 0.0) } else { schedule }
}

fn values(rng: &mut Rng) -> Values {
    let kind = match rng.u8(..16) {
        0 => Kind::Zeros,
        1 => Kind::Tiny,
        2 => Kind::Huge,
        3 => Kind::Nan,
        4 => Kind::Infinite,
        5 => Kind::Ones,
        _ => Kind::Ordinary,
    };
    Values { kind, seed: rng.u64(..1000) }
}

fn ops(rng: &mut Rng, case: &Case) -> Vec<Op> {
    let (lanes, groups) = (case.lanes, case.groups);
    let accumulates = case.has(|modifier| matches!(modifier, Modifier::Accumulate(_)));
    let ascends = case.has(|modifier| matches!(modifier, Modifier::Sam(_)));
    let inspects = case.has(|modifier| *modifier == Modifier::Inspect);
    // Some cases have only values at the ends of single precision, and most have no values that are not finite.
    let (extreme, bad) = (rng.u8(..8) == 0, rng.u8(..3) == 0);
    let fresh = |rng: &mut Rng| {
        let values = values(rng);
        let good = Values { kind: Kind::Ordinary, ..values };
        match values.kind {
            _ if extreme && rng.bool() => Values { kind: Kind::Extreme, ..values },
            Kind::Nan | Kind::Infinite if !bad => good,
            _ => values,
        }
    };
    let long = case.tensors.iter().any(|tensor| tensor.len() > CHUNK);
    let mut ops = Vec::new();
    for lane in 0..lanes {
        for tensor in 0..case.tensors.len() {
            ops.push(Op::Params(lane, tensor, Values { kind: Kind::Ordinary, seed: rng.u64(..1000) }));
        }
    }
    for _ in 0..rng.usize(1..7) {
        match rng.u8(..8) {
            0 => {
                let group = rng.usize(..groups);
                let settings = case.rules[group].settings.iter();
                let numbers: Vec<&str> = settings.filter(|(_, v)| v.parse::<f64>().is_ok()).map(|(n, _)| &**n).collect();
                let setting = rng.choice(numbers).unwrap_or("lr");
                let value = rng.choice([0.01, 0.5, 0.3]).expect("a value");
                ops.push(Op::Set(rng.usize(..lanes), group, setting.into(), value));
            }
            1 => ops.push(Op::Freeze(rng.usize(..lanes), rng.usize(..groups), rng.u8(..3) > 0)),
            2 => {
                let lost = if bad { Kind::Nan } else { Kind::Ordinary };
                let kind = rng.choice([Kind::Ordinary, Kind::Ordinary, Kind::Zeros, Kind::Ones, lost]).expect("a kind");
                let values = Values { kind, seed: rng.u64(..1000) };
                ops.push(Op::Params(rng.usize(..lanes), rng.usize(..case.tensors.len()), values));
            }
            3 if rng.u8(..4) == 0 => ops.push(Op::Rebuild),
            4 => ops.push(Op::Look),
            _ => {}
        }
        for lane in 0..lanes {
            if rng.u8(..4) > 0 {
                ops.push(Op::Grads(lane, fresh(rng)));
            }
        }
        if accumulates {
            for _ in 0..rng.usize(1..4) {
                ops.push(Op::Accumulate);
                ops.push(Op::Grads(rng.usize(..lanes), fresh(rng)));
            }
        }
        if ascends {
            ops.push(Op::Ascend);
            ops.push(Op::Grads(rng.usize(..lanes), fresh(rng)));
        }
        let several = match long {
            _ if accumulates || ascends => 1,
            true => 2,
            false => rng.choice([2, 3, 5, 35]).expect("a number"),
        };
        ops.push(match rng.u8(..4) {
            0 => Op::Steps(several),
            1 if inspects => Op::Inspected,
            _ => Op::Step,
        });
    }
    ops
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (group, Chosen { rule, settings }) in self.rules.iter().enumerate() {
            let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(f, "group {group}: {rule} {}", settings.join(" "))?;
        }
        for (part, own) in self.own.iter().enumerate() {
            let own: Vec<String> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(f, "  lane {}, group {}: {}", part / self.groups, part % self.groups, own.join(" "))?;
        }
        for (index, tensor) in self.tensors.iter().enumerate() {
            writeln!(f, "tensor {index} {:?} in group {}", tensor.shape, tensor.group)?;
        }
        for modifier in &self.modifiers {
            writeln!(f, "with {modifier:?}")?;
        }
        for op in &self.ops {
            writeln!(f, "{op:?}")?;
        }
        Ok(())
    }
}
