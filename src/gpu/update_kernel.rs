//! The update's kernel: a rule, its planes, and whatever goes with it, joined around one skeleton.

use super::holder::Holder;
use super::kernel::{Access, Kernel, Source, params};
use crate::plan::{Storage, Stream, StreamOf, Update, UpdateKind};
use crate::rule::{AnyRule, Rounding};

params!(UpdateParams {
    len: u32,
    lanes: u32,
    lane: u32,
    block: u32,
    current_lane: u32,
    plane: u32,
    stride: u32,
    factors_lane: u32,
    moments_lane: u32
});

/// What a rule computes with: vectors of four, carefully.
pub(super) const CAREFUL: &str = concat!("alias T = vec4f;\nalias U = vec4u;\n", include_str!("../../shaders/careful.wgsl"));

/// What makes one update's kernel differ from another's.
pub(crate) struct Form<'a> {
    pub op: &'a Update,
    pub lanes: bool,
    pub params: Holder,
    pub grads: Holder,
    /// Whether it is for some tensors, and leaves others alone.
    pub some: bool,
}

impl Form<'_> {
    pub(super) fn groups(&self) -> bool {
        self.op.spans.iter().any(|span| span.group > 0)
    }

    /// Whether rows differ from element to element.
    fn many(&self) -> bool {
        self.lanes || self.groups()
    }

    /// Whether the kernel has a table of blocks.
    pub(super) fn blocks(&self) -> bool {
        let looks = self.some || self.groups() || self.op.extras.factors.is_some() || self.op.moments.is_some();
        looks && !self.places()
    }

    /// Whether parameters or gradients lie in the caller's buffers.
    pub(super) fn places(&self) -> bool {
        self.params != Holder::Own || self.grads != Holder::Own
    }

    /// The planes that are rounded at random.
    fn rounds_at_random(&self) -> bool {
        self.op.streams.iter().any(|stream| rounding(self.op, stream) == Some(Rounding::Stochastic))
    }

    /// Whether tensors lie in another order than that of sums, by which random numbers are drawn: slices may.
    pub(super) fn reordered(&self) -> bool {
        self.places() && self.rounds_at_random() && self.op.spans.iter().any(|span| span.place != span.start)
    }
}

/// How a stream's elements are rounded to bfloat16, where they are stored so: planes as their rule says.
fn rounding(op: &Update, stream: &Stream) -> Option<Rounding> {
    match (stream.storage, stream.of) {
        (Storage::Bf16, StreamOf::Plane(plane)) => op.rule.rounding(plane),
        (Storage::Bf16, _) => Some(Rounding::Nearest),
        _ => None,
    }
}

/// The streams beside parameters and gradients.
pub(super) fn beside(op: &Update) -> impl Iterator<Item = &Stream> {
    op.streams.iter().filter(|stream| !matches!(stream.of, StreamOf::Params | StreamOf::Grads))
}

/// What a stream is called in WGSL.
fn name(op: &Update, of: StreamOf) -> String {
    match of {
        StreamOf::Params => "params".into(),
        StreamOf::Grads => "grads".into(),
        StreamOf::Plane(plane) => format!("plane_{}", op.rule.state_names()[plane]),
        StreamOf::Direction => "direction".into(),
        StreamOf::Before => "before".into(),
        StreamOf::Slow => "slow".into(),
        StreamOf::Average => "average".into(),
        StreamOf::Change => "change".into(),
        StreamOf::HalfCopy => "halves".into(),
    }
}

/// A kernel's text that begins with that of a rule.
pub(super) fn of_rule(rule: &dyn AnyRule) -> Source {
    Source::begin(format!("the WGSL of rule '{}'", rule.name()), rule.wgsl(), rule.bounds_checks())
}

pub(crate) fn update_kernel(form: &Form) -> Kernel {
    let op = form.op;
    let mut source = Source::default();
    if op.kind == UpdateKind::Apply {
        source.join(include_str!("../../shaders/update_kind/apply.wgsl"));
    } else {
        source = of_rule(&*op.rule);
    }
    if op.rule.factored() && op.kind != UpdateKind::Apply {
        source.join(&format!("const FACTORED = {};", op.moments.is_some()));
    }
    source.join(CAREFUL);
    join_access(&mut source, form);
    join_state(&mut source, op);
    join_pass(&mut source, op);
    join_extras(&mut source, op);
    join_storage(&mut source, form);
    source.join(include_str!("../../shaders/update.wgsl"));
    source.kernel("update", constants(form), UpdateParams::FIELDS)
}

fn constants(form: &Form) -> Vec<(&'static str, f64)> {
    let (op, extras) = (form.op, &form.op.extras);
    let mut switches = if op.kind == UpdateKind::Apply { Vec::new() } else { op.rule.overrides() };
    if op.kind != UpdateKind::Apply {
        switches.extend([("MAX_VALUE", extras.max_value), ("L1", extras.l1)]);
    }
    if form.many() {
        switches.push(("GROUPS", form.groups()));
    }
    switches.into_iter().map(|(name, on)| (name, f64::from(on))).collect()
}

/// Rows, parameters, gradients, and where they are.
fn join_access(source: &mut Source, form: &Form) {
    if form.many() {
        source.bind(Access::Read, "current", "array<HyperRow>");
        source.join(include_str!("../../shaders/access/hyper_row_many.wgsl"));
    } else {
        source.bind(Access::Uniform, "current", "HyperRow");
        source.join(include_str!("../../shaders/access/hyper_row_one.wgsl"));
    }
    if form.blocks() && form.some {
        source.bind(Access::Read, "blocks", "array<vec2u>");
        source.join(include_str!("../../shaders/access/some.wgsl"));
    } else if form.blocks() {
        source.bind(Access::Read, "blocks", "array<u32>");
        source.join(include_str!("../../shaders/access/blocks.wgsl"));
    } else if !form.places() {
        source.join("fn block_of(i: u32) -> u32 { return 0u; }");
    }
    if !form.some {
        source.join(include_str!("../../shaders/access/all.wgsl"));
    } else if form.places() {
        source.join(include_str!("../../shaders/access/some_borrowed.wgsl"));
    }
    let ty = if form.params == Holder::Own { "array<T>" } else { "array<f32>" };
    source.bind(Access::Write, "params", ty);
    source.join(match form.params {
        // Where only gradients are slices, parameters lie as planes do.
        Holder::Own => include_str!("../../shaders/access/params_own.wgsl"),
        Holder::Borrowed | Holder::Joined => include_str!("../../shaders/access/params_borrowed.wgsl"),
    });
    form.grads.bind_grads(source, "place_of(i)");
    if form.places() && form.grads == Holder::Own {
        source.bind(Access::Read, "places", "array<vec4u>");
        source.join(include_str!("../../shaders/access/places.wgsl"));
    }
}

/// Loading and storing of the rule's planes.
fn join_state(source: &mut Source, op: &Update) {
    for stream in beside(op) {
        let ty = if stream.storage.half().is_some() { "array<vec2u>" } else { "array<T>" };
        source.bind(Access::Write, &name(op, stream.of), ty);
    }
    if op.kind == UpdateKind::Apply {
        source.join("fn load(i: u32) -> State { return State(); }\nfn store(i: u32, s: State, row: HyperRow) {}");
        return;
    }
    if op.moments.is_some() {
        source.bind(Access::Read, "stacks", "array<vec4u>");
        source.bind(Access::Read, "moments", "array<f32>");
        source.join(include_str!("../../shaders/access/moments.wgsl"));
        return;
    }
    let names = op.rule.state_names();
    let loaded = |plane: usize| match op.stream(StreamOf::Plane(plane)) {
        None => "T()".into(),
        Some(Stream { storage: Storage::F32, of, .. }) => format!("{}[at]", name(op, of)),
        Some(Stream { of, .. }) => format!("from_bf16({}[at])", name(op, of)),
    };
    let fields: Vec<String> = (0..names.len()).map(loaded).collect();
    source.join(&format!("fn load(i: u32) -> State {{ let at = place_of(i); return State({}); }}", fields.join(", ")));
    let stored = |stream: &Stream| {
        let StreamOf::Plane(plane) = stream.of else { return None };
        let value = format!("s.{}", names[plane]);
        let value = match rounding(op, stream) {
            None => value,
            Some(Rounding::Nearest) => format!("to_bf16({value})"),
            Some(Rounding::Stochastic) => format!("to_bf16_by({value}, noise(i, {plane}u, row))"),
        };
        Some(format!("{}[at] = {value};", name(op, stream.of)))
    };
    let stored: Vec<String> = op.streams.iter().filter_map(stored).collect();
    source.join(&format!("fn store(i: u32, s: State, row: HyperRow) {{ let at = place_of(i); {} }}", stored.join(" ")));
}

/// Access to streams of 16 bits and their rounding, if there are any.
fn join_storage(source: &mut Source, form: &Form) {
    if form.op.streams.iter().any(|stream| stream.storage == Storage::Bf16) {
        source.join(include_str!("../../shaders/access/bf16.wgsl"));
    }
    if form.rounds_at_random() {
        source.join(include_str!("../../shaders/op/random.wgsl"));
        source.join(include_str!("../../shaders/access/noise.wgsl"));
        if form.reordered() {
            source.join(include_str!("../../shaders/access/reordered.wgsl"));
        } else {
            source.join("fn vec4_in_order(i: u32) -> u32 { return element_of(i) / 4u; }");
        }
    }
}

fn join_pass(source: &mut Source, op: &Update) {
    if op.kind != UpdateKind::Apply {
        source.join(include_str!("../../shaders/update_kind/scaled.wgsl"));
    }
    source.join(match op.kind {
        UpdateKind::Whole | UpdateKind::Apply => include_str!("../../shaders/update_kind/whole.wgsl"),
        UpdateKind::Direction => include_str!("../../shaders/update_kind/direction.wgsl"),
        UpdateKind::Cautious => include_str!("../../shaders/update_kind/cautious.wgsl"),
    });
}

/// Each extra is a function: of its file where it is on, else one that does nothing.
fn join_extras(source: &mut Source, op: &Update) {
    let (extras, has) = (&op.extras, |of| op.stream(of).is_some());
    match extras.factors {
        Some(_) => {
            source.bind(Access::Read, "factors", "array<vec2f>");
            source.join(include_str!("../../shaders/extras/factors.wgsl"));
        }
        None => source.join("fn factors_of(i: u32) -> vec2f { return vec2f(1.0); }"),
    }
    source.join(if has(StreamOf::Before) {
        include_str!("../../shaders/extras/before.wgsl")
    } else {
        "fn start_of(i: u32) -> T { return get_params(i); }\nfn restore(i: u32) {}"
    });
    source.join(if extras.zero_grads {
        include_str!("../../shaders/extras/zero_grads.wgsl")
    } else {
        "fn zero_grads(i: u32) {}"
    });
    // What follows belongs to the pass that moves parameters.
    if matches!(op.kind, UpdateKind::Direction | UpdateKind::Cautious) {
        return;
    }
    source.join(if has(StreamOf::Slow) {
        include_str!("../../shaders/extras/slow.wgsl")
    } else {
        "fn sync(i: u32, x: T, y: T, row: HyperRow) -> T { return y; }"
    });
    source.join(if has(StreamOf::Average) {
        include_str!("../../shaders/extras/average.wgsl")
    } else {
        "fn keep_average(i: u32, x: T, row: HyperRow) {}"
    });
    source.join(if has(StreamOf::Change) {
        include_str!("../../shaders/extras/change.wgsl")
    } else {
        "fn keep_change(i: u32, dx: T) {}"
    });
    source.join(match op.stream(StreamOf::HalfCopy).map(|stream| stream.storage) {
        Some(Storage::F16) => include_str!("../../shaders/extras/half_f16.wgsl"),
        Some(_) => include_str!("../../shaders/extras/half_bf16.wgsl"),
        None => "fn keep_half(i: u32, x: T) {}",
    });
}
