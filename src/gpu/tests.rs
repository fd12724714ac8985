//! Every kernel that the crate composes is valid WGSL, translates to each driver's language, and is laid out as the host
//! thinks. No device is needed.

use super::holder::Holder;
use super::kernel::{Access, Kernel};
use super::operation::Width;
use super::pipelines::checks_bounds;
use super::update::tag;
use super::update_kernel::{Form, update_kernel};
use super::{centralise, combine, control, copy_lanes, dots, factored, factors, gate, join_rows, norm, operation, orthogonal};
use crate::plan::{
    ALIGN, Adapter, BufferId, Case, Control, Counter, Dispatch, Extras, Factors, Gate, GateKind, Half, Layout, Micro, Moments,
    NormKind, NormOf, Operands, Operation, Span, Storage, Stream, StreamOf, TensorBound, Trust, Update, UpdateKind, Views,
};
use crate::rule::{AnyRule, HyperRow, Layerwise, Real, Rule, Setting};
use crate::rules::{Sgd, rules};
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module, ShaderStage, StorageAccess, StructMember, TypeInner};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

crate::settings! {
    /// A rule from outside the crate, without state.
    pub struct SignSgd {
        /// Learning rate.
        number lr = 0.1, not_negative;
    }
}

impl Rule for SignSgd {
    type Hyper<F: Real> = [F; 1];
    type State<F: Real> = [F; 0];
    const NAME: &'static str = "signsgd";
    const FORMULA: &'static str = "x −= lr·sign(d)";
    const HYPER: &'static [&'static str] = &["lr"];
    const STATE: &'static [&'static str] = &[];
    const WGSL: &'static str = "
        struct Hyper { lr: f32 }
        struct State { none: f32 }
        fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * sign(d); }";

    fn lr(&self) -> f64 {
        self.lr
    }

    fn hyper(&self, _t: u64) -> [f64; 1] {
        [self.lr]
    }

    fn update<F: Real>(&self, &[lr]: &[F; 1], x: F, d: F, _s: &mut [F; 0]) -> F {
        x - lr * d.signum()
    }
}

/// Every registered rule and one from outside.
fn all_rules() -> Vec<Box<dyn AnyRule>> {
    let outside: Box<dyn AnyRule> = Box::new(SignSgd::default());
    rules().into_iter().chain([outside]).collect()
}

/// A rule with every combination of its switches, and with each of its numbers at 0 and at a half: whatever changes the kernel.
fn variants(rule: &dyn AnyRule) -> Vec<Box<dyn AnyRule>> {
    let mut variants = vec![rule.boxed()];
    let count = rule.boxed().settings().len();
    for index in 0..count {
        for mut variant in variants.clone() {
            let choices: &[f64] = match &variant.settings()[index].1 {
                Setting::Number(_) => &[0.0, 0.5],
                Setting::Flag(_) => &[1.0],
                Setting::Fixed(_) => &[],
            };
            for &choice in choices {
                match &mut variant.settings()[index].1 {
                    Setting::Number(number) => **number = choice,
                    Setting::Flag(flag) => **flag = true,
                    Setting::Fixed(_) => {}
                }
                variants.push(variant.clone());
            }
        }
        // Only what makes another kernel is worth keeping.
        let mut seen = HashSet::new();
        variants.retain(|variant| seen.insert(format!("{:?} {:?}", variant.overrides(), variant.planes())));
    }
    variants
}

/// A whole update of a rule, with one group or two, and with what goes with it.
fn update(rule: &dyn AnyRule, groups: usize, kind: UpdateKind, extras: Extras, beside: &[Stream]) -> Update {
    let span = |group: usize| Span { start: group * ALIGN, place: group * ALIGN, len: ALIGN, group, tensor: group };
    let planes = if kind == UpdateKind::Apply { Vec::new() } else { rule.planes() };
    let mut streams =
        vec![Stream::new(StreamOf::Params, BufferId::of_none(0)), Stream::new(StreamOf::Grads, BufferId::of_none(1))];
    streams.extend(planes.into_iter().map(|plane| Stream::new(StreamOf::Plane(plane), BufferId::of_none(10 + plane))));
    if matches!(kind, UpdateKind::Direction | UpdateKind::Cautious) {
        streams.push(Stream::new(StreamOf::Direction, BufferId::of_none(30)));
    }
    streams.extend(beside);
    Update {
        rule: rule.boxed(),
        streams,
        current: BufferId::of_none(2),
        spans: (0..groups).map(span).collect(),
        kind,
        extras,
        moments: None,
    }
}

/// Planes in bfloat16, and tensors in the order of sums or in another.
fn in_bf16(op: &Update, reordered: bool) -> Update {
    let mut op = op.clone();
    for stream in op.streams.iter_mut().filter(|stream| matches!(stream.of, StreamOf::Plane(_))) {
        stream.storage = Storage::Bf16;
    }
    op.spans.iter_mut().for_each(|span| span.place += if reordered { ALIGN } else { 0 });
    op
}

/// Whole steps of every variant of every rule, in lanes and groups, over arenas and slices.
fn update_kernels() -> Vec<(Box<dyn AnyRule>, Kernel)> {
    let mut kernels = Vec::new();
    for variant in all_rules().iter().flat_map(|rule| variants(&**rule)) {
        for (groups, lanes) in [(1, false), (1, true), (2, false), (2, true)] {
            for (holder, of_grads) in
                [(Holder::Own, Holder::Own), (Holder::Borrowed, Holder::Borrowed), (Holder::Borrowed, Holder::Joined)]
            {
                let extras = Extras { max_value: groups > 1, l1: lanes, ..Default::default() };
                let plain = update(&*variant, groups, UpdateKind::Whole, extras, &[]);
                let narrow = variant.planes().iter().all(|&plane| variant.rounding(plane).is_some());
                let orders = if holder == Holder::Own { &[false][..] } else { &[false, true] };
                let narrow = orders.iter().filter(|_| narrow).map(|&reordered| in_bf16(&plain, reordered)).collect::<Vec<_>>();
                for op in std::iter::once(plain).chain(narrow) {
                    for some in [false, groups > 1] {
                        let form = Form { op: &op, lanes, params: holder, grads: of_grads, some };
                        kernels.push((variant.clone(), update_kernel(&form)));
                    }
                }
            }
        }
    }
    kernels
}

/// What may go with an update, one at a time and some together.
fn extras() -> Vec<(Extras, Vec<Stream>)> {
    let (none, a) = (Extras::default(), Some(BufferId::of_none(20)));
    let of = |streams: &[StreamOf]| {
        streams.iter().enumerate().map(|(i, &of)| Stream::new(of, BufferId::of_none(21 + i))).collect::<Vec<_>>()
    };
    let half = |half: Half| vec![Stream::new(StreamOf::HalfCopy, BufferId::of_none(24)).stored(half.into())];
    vec![
        (Extras { factors: a, ..none }, Vec::new()),
        (Extras { zero_grads: true, ..none }, Vec::new()),
        (none, of(&[StreamOf::Before])),
        (none, of(&[StreamOf::Slow])),
        (none, of(&[StreamOf::Average])),
        (none, of(&[StreamOf::Change])),
        (none, half(Half::F16)),
        (none, half(Half::Bf16)),
        (none, of(&[StreamOf::Slow, StreamOf::Average])),
        (Extras { zero_grads: true, max_value: true, l1: true, ..none }, of(&[StreamOf::Before, StreamOf::Change])),
        (Extras { factors: a, ..none }, of(&[StreamOf::Before, StreamOf::Slow, StreamOf::Average])),
    ]
}

/// Passes and extras, with a rule of one plane.
fn pass_kernels() -> Vec<Kernel> {
    let rule = Sgd { momentum: 0.5, ..Default::default() };
    let passes = [UpdateKind::Whole, UpdateKind::Direction, UpdateKind::Cautious, UpdateKind::Apply];
    let holders = [(Holder::Own, Holder::Own), (Holder::Borrowed, Holder::Borrowed), (Holder::Borrowed, Holder::Own)];
    let mut kernels = Vec::new();
    for (pass, (extras, mut beside)) in
        passes.into_iter().flat_map(|pass| extras().into_iter().map(move |extras| (pass, extras)))
    {
        let moves = matches!(pass, UpdateKind::Whole | UpdateKind::Apply);
        // Other passes keep nothing.
        beside.retain(|stream| moves || stream.of == StreamOf::Before);
        let kept = Extras { factors: extras.factors, zero_grads: extras.zero_grads, ..Default::default() };
        let plain = update(&rule, 1, pass, if moves { extras } else { kept }, &beside);
        for op in [in_bf16(&plain, false), plain] {
            for (params, grads) in holders {
                for (lanes, some) in [(false, false), (true, false), (false, true), (true, true)] {
                    kernels.push(update_kernel(&Form { op: &op, lanes, params, grads, some }));
                }
            }
        }
    }
    let sum = update(&rule, 2, UpdateKind::Whole, Extras::default(), &[]);
    kernels.push(update_kernel(&Form { op: &sum, lanes: false, params: Holder::Own, grads: Holder::Borrowed, some: false }));
    kernels.retain(|kernel| storage_bindings(kernel) <= 8);
    kernels
}

/// Directions of factored rules whose arena has matrices, with what may go with them.
fn factored_updates() -> Vec<Kernel> {
    let rules = rules().into_iter().filter(|rule| rule.factored());
    let zero_grads = Extras { zero_grads: true, ..Default::default() };
    let before = [Stream::new(StreamOf::Before, BufferId::of_none(20))];
    let mut kernels = Vec::new();
    for rule in rules {
        for (groups, lanes, extras, beside) in [(1, false, Extras::default(), &[][..]), (2, true, zero_grads, &before)] {
            let mut op = update(&*rule, groups, UpdateKind::Direction, extras, beside);
            op.moments = Some(Moments { buffer: BufferId::of_none(31), stacks: Vec::new() });
            op.streams.retain(|stream| !matches!(stream.of, StreamOf::Plane(_)));
            for (holder, some) in [(Holder::Own, false), (Holder::Own, true), (Holder::Borrowed, true)] {
                kernels.push(update_kernel(&Form { op: &op, lanes, params: holder, grads: holder, some }));
            }
        }
    }
    assert!(!kernels.is_empty());
    kernels
}

fn storage_bindings(kernel: &Kernel) -> usize {
    kernel.bindings.iter().filter(|access| **access != Access::Uniform).count()
}

fn controls() -> Vec<Control> {
    let id = BufferId::of_none(0);
    let plain = Control {
        norm: None,
        skip_bad: true,
        rows: id,
        slots: 256,
        current: id,
        counts: id,
        scalars: id,
        frozen: id,
        groups: 1,
        domains: std::iter::once(0..1).collect(),
        domain_of: vec![0],
        loss_scale: None,
        micro: None,
    };
    let kinds = [NormKind::L2, NormKind::L1, NormKind::Max];
    let mut controls = vec![plain.clone(), Control { micro: Some(Micro { count: id, mean: true }), ..plain.clone() }];
    for kind in kinds {
        let norm = Some((id, kind));
        controls.push(Control { norm, ..plain.clone() });
        let micro = Some(Micro { count: id, mean: false });
        controls.push(Control { norm, loss_scale: Some(Default::default()), micro, ..plain.clone() });
    }
    controls
}

fn gates() -> Vec<Gate> {
    let id = BufferId::of_none(0);
    let ascend = Gate {
        kind: GateKind::Ascend { rho: 0.05.into() },
        norm: Some((id, NormKind::L2)),
        frozen: id,
        current: id,
        groups: 2,
    };
    let accumulate = Gate { kind: GateKind::Accumulate { count: id }, norm: None, ..ascend.clone() };
    vec![Gate { norm: Some((id, NormKind::Max)), ..accumulate.clone() }, accumulate, ascend]
}

fn factors() -> Vec<Factors> {
    let id = BufferId::of_none(0);
    let plain = Factors {
        tensors: Vec::new(),
        partials: (id, NormKind::L2),
        of: NormOf::Gradient,
        params: None,
        bound: TensorBound::Clip,
        trust: Trust::None,
        current: id,
        memory: None,
        norms: id,
        factors: id,
    };
    let (l1, max, count) = ((id, NormKind::L1), (id, NormKind::Max), (id, NormKind::Count));
    let mut all = vec![
        plain.clone(),
        Factors { partials: l1, bound: TensorBound::Normalise, ..plain.clone() },
        Factors { partials: max, params: Some(id), ..plain.clone() },
        Factors { partials: count, of: NormOf::Direction, bound: TensorBound::None, trust: Trust::Cautious, ..plain.clone() },
    ];
    for rule in rules().into_iter().filter(|rule| rule.layerwise() != Layerwise::No).flat_map(|rule| variants(&*rule)) {
        all.push(Factors { params: Some(id), memory: Some(id), trust: Trust::Rule(rule), ..plain.clone() });
    }
    all
}

fn kernels() -> Vec<Kernel> {
    let holders = [Holder::Own, Holder::Borrowed];
    let mut kernels: Vec<Kernel> = update_kernels().into_iter().map(|(_, kernel)| kernel).collect();
    kernels.extend(pass_kernels());
    let kinds = [NormKind::L2, NormKind::L1, NormKind::Max, NormKind::Count];
    kernels.extend(kinds.into_iter().flat_map(|kind| holders.map(|holder| norm::norm_kernel(kind, holder))));
    kernels.extend(
        [false, true].into_iter().flat_map(|tall| ["pack", "unpack"].map(|name| orthogonal::matrices_kernel(name, tall))),
    );
    kernels.push(orthogonal::polynomial_kernel());
    kernels.extend([factored::lines_kernel(), factored::means_kernel()]);
    kernels.extend(holders.map(factored::tiles_kernel));
    kernels.extend(factored_updates());
    kernels.extend(controls().iter().map(control::control_kernel));
    kernels.extend(gates().iter().map(gate::gate_kernel));
    kernels.extend(factors().iter().map(factors::factors_kernel));
    kernels.extend(holders.map(centralise::centralise_kernel));
    kernels.extend(operation_kernels());
    kernels.extend([false, true].map(copy_lanes::copy_lanes_kernel));
    kernels.extend((1..=2).flat_map(|left| (1..=4).map(move |right| dots::dots_kernel(left, right))));
    kernels.extend(kinds.map(join_rows::join_rows_kernel));
    kernels.extend((1..=6).flat_map(|terms| [false, true].map(|add| combine::combine_kernel(terms, add))));
    kernels
}

fn operation_kernels() -> Vec<Kernel> {
    let cases = crate::op::cases(2);
    let adapters = [Adapter::new(false, false), Adapter::new(true, false)];
    let of = |case: &Case| -> Vec<Kernel> {
        let on = |adapter: &Adapter| case.operated().operation().dispatches_on(adapter);
        let mut dispatches: Vec<Dispatch> = adapters.iter().flat_map(on).collect();
        // Most have the same kernel for all adapters.
        dispatches.dedup();
        let kernel = |dispatch: Dispatch, width| operation::kernel(case.operated(), &dispatch, width);
        let widths = |dispatch: &Dispatch| if dispatch.each.is_some() { &[Width::One, Width::Four][..] } else { &[Width::One] };
        dispatches
            .into_iter()
            .flat_map(|dispatch| widths(&dispatch).iter().map(move |&width| kernel(dispatch.clone(), width)))
            .collect()
    };
    cases.iter().flat_map(of).collect()
}

/// An operation from outside the crate: it says nothing about bounds checks.
#[derive(Debug, Clone)]
struct Nothing;

impl Operation for Nothing {
    const NAME: &'static str = "nothing";

    fn operands(&self, _: &mut Operands) {}

    fn dispatches(&self) -> Vec<Dispatch> {
        vec![Dispatch::new("nothing", "@compute @workgroup_size(1) fn nothing() {}")]
    }

    fn run<F: Real>(&self, _: Views<'_, F>) -> crate::error::Result<()> {
        Ok(())
    }

    fn cases(_: &mut Layout) -> Vec<Self> {
        vec![Self]
    }
}

/// Drivers may check bounds by themselves, so that no run shows who does.
#[test]
fn operations_from_outside_are_compiled_with_bounds_checks() {
    let case = Case::of::<Nothing>(1).remove(0);
    let outside = operation::kernel(case.operated(), &case.operated().operation().dispatches()[0], Width::One);
    for checked in [false, true] {
        assert!(checks_bounds(checked, &outside));
        assert!(operation_kernels().iter().all(|own| checks_bounds(checked, own) == checked));
    }
}

/// Every kernel with the text of a rule, whatever else is in it.
#[test]
fn rules_from_outside_are_compiled_with_bounds_checks() {
    let trusts = factors().into_iter().filter(|op| matches!(op.trust, Trust::Rule(_)));
    let outside = Factors { trust: Trust::Rule(Box::new(SignSgd::default())), ..factors().remove(0) };
    let mut kernels: Vec<(bool, Kernel)> = vec![(true, factors::factors_kernel(&outside))];
    kernels.extend(trusts.map(|op| (false, factors::factors_kernel(&op))));
    kernels.extend(update_kernels().into_iter().map(|(rule, kernel)| (rule.name() == SignSgd::NAME, kernel)));
    for (outside, kernel) in kernels {
        assert_eq!(checks_bounds(false, &kernel), outside, "{}", kernel.source);
        assert!(checks_bounds(true, &kernel));
    }
}

thread_local! {
    /// What was parsed, by source: many kernels differ in their constants only.
    static MODULES: RefCell<HashMap<String, Rc<(Module, ModuleInfo)>>> = RefCell::default();
}

/// Parses and validates with what plain WebGPU offers.
fn module(kernel: &Kernel) -> Rc<(Module, ModuleInfo)> {
    let source = &kernel.source;
    let parse = || {
        let module = naga::front::wgsl::parse_str(source)
            .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(source)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(source)));
        Rc::new((module, info))
    };
    MODULES.with_borrow_mut(|modules| Rc::clone(modules.entry(source.clone()).or_insert_with(parse)))
}

/// The members of the struct of that name.
fn members<'a>(module: &'a Module, name: &str) -> (&'a [StructMember], u32) {
    let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name));
    match &found.unwrap_or_else(|| panic!("no struct {name}")).1.inner {
        TypeInner::Struct { members, span } => (members, *span),
        other => panic!("{name} is {other:?}"),
    }
}

fn names(members: &[StructMember]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_deref().expect("a name")).collect()
}

#[test]
fn every_kernel_translates_to_each_drivers_language() {
    for kernel in kernels() {
        let what = format!("{} {:?}", kernel.name, kernel.constants);
        let (module, info) = &*module(&kernel);
        let entry = (ShaderStage::Compute, kernel.name);
        let constants: PipelineConstants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let (module, info) = process_overrides(module, info, Some(entry), &constants).expect(&what);

        let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.into() };
        let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&pipeline)).expect(&what);
        assert_eq!(words[0], 0x0723_0203, "{what}: SPIR-V's magic number");

        let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).expect(&what);
        assert!(text.contains("kernel void"), "{what}: {text}");

        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(&module, &info, None).expect(&what);
        assert!(text.contains("[numthreads("), "{what}: {text}");
    }
}

/// Kernels are compiled without bounds checks; they must not need any to be translated.
#[test]
fn every_kernel_translates_without_bounds_checks() {
    for kernel in kernels() {
        let (module, info) = &*module(&kernel);
        let constants: PipelineConstants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let (module, info) = process_overrides(module, info, None, &constants).expect(kernel.name);
        let unchecked = BoundsCheckPolicy::Unchecked;
        let bounds_check_policies =
            BoundsCheckPolicies { index: unchecked, buffer: unchecked, image_load: unchecked, binding_array: unchecked };
        let options = spv::Options { bounds_check_policies, ..Default::default() };
        spv::write_vec(&module, &info, &options, None).expect(kernel.name);
    }
}

#[test]
fn every_constant_is_an_override_of_its_kernel() {
    for kernel in kernels() {
        let (module, _) = &*module(&kernel);
        let mut declared: Vec<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let mut given: Vec<&str> = kernel.constants.iter().map(|(name, _)| *name).collect();
        declared.sort_unstable();
        given.sort_unstable();
        assert_eq!(given, declared, "{}", kernel.name);
    }
}

#[test]
fn uniforms_are_laid_out_as_on_the_host() {
    let of_operations: HashSet<String> = operation_kernels().into_iter().map(|kernel| kernel.source).collect();
    for kernel in kernels() {
        let (module, _) = &*module(&kernel);
        let mut globals = module.global_variables.iter().map(|(_, global)| global);
        let first = |global: &&GlobalVariable| global.binding.is_some_and(|binding| binding.binding == 0);
        let uniform = globals.find(first).expect(kernel.name);
        assert_eq!(uniform.space, AddressSpace::Uniform, "{}", kernel.name);
        let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else { panic!("{}: no struct", kernel.name) };
        // An operation's uniform is made of its operands, on both sides from one list.
        if kernel.fields.is_empty() {
            assert!(of_operations.contains(&kernel.source), "{}: no fields", kernel.name);
        } else {
            assert_eq!(names(members), kernel.fields, "{}", kernel.name);
        }
        for (i, member) in members.iter().enumerate() {
            assert_eq!(member.offset, 4 * i as u32, "{}: {:?}", kernel.name, member.name);
            assert!(
                matches!(module.types[member.ty].inner, TypeInner::Scalar(scalar) if scalar.width == 4),
                "{:?}",
                member.name
            );
        }
        assert_eq!(*span, 4 * members.len() as u32, "{}", kernel.name);
    }
}

#[test]
fn storage_bindings_have_the_access_that_layouts_declare() {
    for kernel in kernels() {
        let (module, _) = &*module(&kernel);
        let mut bindings: Vec<(u32, Access)> = module
            .global_variables
            .iter()
            .filter_map(|(_, global)| {
                let access = match global.space {
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::Write,
                    AddressSpace::Storage { .. } => Access::Read,
                    AddressSpace::Uniform => Access::Uniform,
                    _ => return None,
                };
                Some((global.binding.expect("a binding").binding, access))
            })
            .collect();
        bindings.sort_unstable_by_key(|(binding, _)| *binding);
        let declared = [Access::Uniform].into_iter().chain(kernel.bindings.iter().copied());
        let expected: Vec<(u32, Access)> = (0..).zip(declared).collect();
        assert_eq!(bindings, expected, "{}", kernel.name);
        let storage = bindings.iter().filter(|(_, access)| *access != Access::Uniform).count();
        assert!(storage <= 8, "{} binds {storage} storage buffers, WebGPU allows 8", kernel.name);
    }
}

#[test]
fn the_entry_point_is_named_like_the_kernel_and_fits_into_webgpus_limits() {
    for kernel in kernels() {
        let (module, _) = &*module(&kernel);
        // An operation may have several in one text, each a kernel of its own.
        let found = module.entry_points.iter().find(|entry| entry.name == kernel.name);
        let entry = found.unwrap_or_else(|| panic!("{}: no entry point of that name", kernel.name));
        assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{}: {:?}", kernel.name, entry.workgroup_size);
    }
}

#[test]
fn rules_have_the_same_names_in_both_languages() {
    for (rule, kernel) in update_kernels() {
        let (module, _) = &*module(&kernel);
        let (hyper, _) = members(module, "Hyper");
        assert_eq!(names(hyper), rule.hyper_names(), "{}", rule.name());
        let (state, _) = members(module, "State");
        match rule.state_names() {
            [] => assert_eq!(state.len(), 1, "{}: one unused field", rule.name()),
            expected => assert_eq!(names(state), expected, "{}", rule.name()),
        }
    }
}

#[test]
fn rows_are_laid_out_as_on_the_host() {
    for (rule, kernel) in update_kernels() {
        let (module, _) = &*module(&kernel);
        let (row, span) = members(module, "HyperRow");
        assert_eq!(span as usize, 4 * HyperRow::LEN, "{}", rule.name());
        let (shared, own) = row.split_at(HyperRow::SHARED.len());
        assert_eq!(names(shared), HyperRow::SHARED, "{}", rule.name());
        assert_eq!(names(own), ["hyper"], "{}", rule.name());
        assert!(row.iter().enumerate().all(|(i, member)| member.offset == 4 * i as u32), "{}", rule.name());
        let (hyper, _) = members(module, "Hyper");
        assert!(hyper.iter().enumerate().all(|(i, member)| member.offset == 4 * i as u32), "{}", rule.name());
    }
}

/// The numbers that shaders repeat from the host.
#[test]
fn constants_in_shaders_are_those_of_the_host() {
    let expected = [("HYPER_ROW", HyperRow::LEN), ("LIVE", HyperRow::LIVE), ("SCALE", HyperRow::SCALE)];
    let control = [("MAX_NORM", HyperRow::MAX_NORM), ("COUNTERS", Counter::LEN)];
    let gate = [("DECAY", HyperRow::DECAY), ("STAYS", HyperRow::SHARED.len())];
    for (source, own) in
        [(&control::control_kernel(&controls()[0]).source, control), (&gate::gate_kernel(&gates()[0]).source, gate)]
    {
        for (name, value) in expected.into_iter().chain(own) {
            assert!(source.contains(&format!("const {name} = {value}u;")), "{name} = {value}");
        }
    }
    for kernel in [factored::tiles_kernel(Holder::Own), factored::lines_kernel(), factored::means_kernel()] {
        for (name, value) in [("HYPER_ROW", HyperRow::LEN), ("LIVE", HyperRow::LIVE), ("OWN", HyperRow::SHARED.len())] {
            assert!(kernel.source.contains(&format!("const {name} = {value}u;")), "{}: {name} = {value}", kernel.name);
        }
    }
    // The update's kernel finds a group by its block of vec4s.
    let op = update(&SignSgd { lr: 0.1 }, 2, UpdateKind::Whole, Extras::default(), &[]);
    let form = Form { op: &op, lanes: false, params: Holder::Own, grads: Holder::Own, some: false };
    assert!(update_kernel(&form).source.contains(&format!("% op.len / {}u", ALIGN / 4)));
    // Tags have the tensor in their lower bits.
    assert_eq!((tag(1, 0), tag(0, 0xfffff), tag(3, 5)), (1 << 20, 0xfffff, 3 << 20 | 5));
}

#[test]
fn every_switch_of_every_rule_makes_a_kernel() {
    for rule in rules() {
        let variants = variants(&*rule);
        for (index, (name, _)) in rule.overrides().iter().enumerate() {
            for value in [false, true] {
                assert!(variants.iter().any(|variant| variant.overrides()[index].1 == value), "{} {name} {value}", rule.name());
            }
        }
    }
}
