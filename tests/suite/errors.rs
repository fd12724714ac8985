//! Errors and their exact messages: names, lengths, lanes, groups and limits. Those of settings are in settings.rs.

use crate::common::engines;
use crate::common::groups::{GROUPS, grouped};
use crate::common::refusal::{assert_error, optimizer};
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::op::{Copy, Expr, Map, MatMul};
use thalweg::plan::{
    Arena, Blueprint, BufferId, Chunk, Engine, Half, Layout, Norm, NormKind, Op, Plan, PlanId, Program, Tag, View,
};
use thalweg::{Adam, AdamW, AnyRule, Error, Muon, Optimizer, Recipe, RmsProp, Select, Sgd, rule_by_name, set};

#[test]
fn an_unknown_name_comes_with_the_known_ones() {
    assert_error(
        rule_by_name("adamm"),
        "unknown rule 'adamm'; known: sgd, rmsprop, adam, adamw, adagrad, radam, adamax, adadelta, nadam, asgd, rprop, lion, lars, lamb, novograd, ademamix, adan, \
         schedulefree, adafactor, muon; did you mean adam or adamw?",
    );
    assert_error(
        set(&mut Sgd::default(), "beta1", "0.9"),
        "unknown setting 'beta1'; known: lr, momentum, dampening, weight_decay, nesterov, lr_inside, maximize",
    );
    let mut adam = optimizer(Recipe::new(Adam::default())).expect("an optimizer");
    assert_error(adam.params("v"), "unknown tensor 'v'; known: w");
    assert_error(adam.set_grads("W", &[0.0; 6]), "unknown tensor 'W'; known: w; did you mean w?");
    assert_error(adam.state("w", "w"), "unknown plane 'w'; known: m, v");
    let mut sgd = optimizer(Recipe::new(Sgd::default())).expect("an optimizer");
    assert_error(sgd.state("w", "b"), "unknown plane 'b'");
}

#[test]
fn an_unknown_adapter_comes_with_the_known_ones() {
    let options = GpuOptions { adapter: Some("no such adapter".into()), ..Default::default() };
    let names: Vec<String> = thalweg::gpu::adapters().iter().map(|adapter| adapter.get_info().name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_error(Gpu::with(&options), &Error::unknown("adapter", "no such adapter", &names).to_string());
}

#[test]
fn what_is_frozen_must_exist() {
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = || [0.1, 0.2].map(|lr| Sgd { lr, ..Default::default() });
        let mut lanes = Optimizer::new(&engine, Recipe::population(rules()), &[("w", &[1])]).expect("an optimizer");
        let tensors: [(&str, &[usize]); 2] = [("w", &[1]), ("b of group 1", &[1])];
        let mut groups = Optimizer::new(&engine, grouped(rules()), &tensors).expect("an optimizer");
        for frozen in [true, false] {
            assert_error(
                lanes.lane(2).and_then(|mut lane| lane.freeze("default", frozen)),
                "lane = 2 is out of range: below 2",
            );
            assert_error(lanes.lane(0).expect("a lane").freeze(GROUPS[1], frozen), "unknown group 'group 1'; known: default");
            assert_error(
                groups.lane(1).and_then(|mut lane| lane.freeze("default", frozen)),
                "lane = 1 is out of range: below 1",
            );
            assert_error(groups.freeze("", frozen), "unknown group ''; known: default, group 1");
            lanes.lane(1).expect("a lane").freeze("default", frozen).expect("the last lane");
            groups.freeze(GROUPS[1], frozen).expect("the last group");
        }
    }
}

#[test]
fn a_tensor_is_given_once() {
    let new = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), &[("w", &[2]), ("w", &[3])]);
    assert_error(new, "tensor 'w' is given twice");
}

#[test]
fn lengths_must_fit() {
    let mut sgd = optimizer(Recipe::new(Sgd::default())).expect("an optimizer");
    assert_error(sgd.set_params("w", &[0.0; 5]), "tensor 'w': 5 found, 6 elements expected");
    assert_error(sgd.set_grads("w", &[0.0; 7]), "tensor 'w': 7 found, 6 elements expected");
}

#[test]
fn a_lane_must_exist() {
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = [0.1, 0.2].map(|lr| Sgd { lr, ..Default::default() });
        let mut sgd = Optimizer::new(&engine, Recipe::population(rules), &[("w", &[1])]).expect("an optimizer");
        assert_error(sgd.lane(2).and_then(|mut lane| lane.params("w")), "lane = 2 is out of range: below 2");
        assert_error(sgd.lane(2).and_then(|mut lane| lane.set_params("w", &[0.0])), "lane = 2 is out of range: below 2");
        assert_error(sgd.lane(2).and_then(|mut lane| lane.report()), "lane = 2 is out of range: below 2");
    }
}

#[test]
fn there_must_be_tensors_and_rules() {
    let none: &[(&str, &[usize])] = &[];
    let new = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), none);
    assert_error(new, "the list of tensors is empty");
    assert_error(optimizer(Recipe::population(Vec::<Sgd>::new())), "the list of rules is empty");
}

#[test]
fn lanes_must_share_a_kernel() {
    let momentum = |momentum| Sgd { momentum, ..Default::default() };
    let momentum_differs = |group: &str| {
        format!(
            "momentum = 0.9 in lane 1 cannot be combined with momentum = 0 in lane 0: all lanes of group '{group}' share one kernel"
        )
    };
    assert_error(optimizer(Recipe::population([momentum(0.0), momentum(0.9)])), &momentum_differs("default"));
    let lanes = Recipe::population([momentum(0.0), momentum(0.0)]);
    let grouped = lanes.group("all", |_| true, [momentum(0.0), momentum(0.9)]);
    assert_error(optimizer(grouped), &momentum_differs("all"));
    let boxed: [Box<dyn AnyRule>; 2] = [Box::new(Adam::default()), Box::new(AdamW::default())];
    assert_error(
        optimizer(Recipe::population(boxed)),
        "adamw in lane 1 cannot be combined with adam in lane 0: all lanes of group 'default' share one kernel",
    );
}

/// The error names every setting that makes kernels differ, with its lane and group, and no other setting.
#[test]
fn the_settings_that_make_two_kernels_are_named() {
    let tensors: [(&str, &[usize]); 2] = [("0.weight", &[2, 2]), ("0.bias", &[2])];
    let new = |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors).map(drop);
    let rule = |momentum, centered, lr| RmsProp { momentum, centered, lr, ..Default::default() };
    let recipe = Recipe::population([rule(0.0, false, 0.1), rule(0.0, false, 0.2), rule(0.5, true, 0.3)]);
    let error = new(recipe).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }));
    let what = "momentum = 0.5, centered = true in lane 2 cannot be combined with momentum = 0, centered = false in lane 0";
    assert_eq!(error.to_string(), format!("{what}: all lanes of group 'default' share one kernel"));
    let plain = [rule(0.0, false, 0.1), rule(0.0, false, 0.2)];
    let biases = [rule(0.0, false, 0.1), rule(0.0, true, 0.1)];
    let recipe = Recipe::population(plain).group("biases", |tensor| tensor.shape.len() < 2, biases);
    let what = "centered = true in lane 1 cannot be combined with centered = false in lane 0";
    assert_error(new(recipe), &format!("{what}: all lanes of group 'biases' share one kernel"));
    let muon = |ns_steps| Muon { ns_steps, ..Default::default() };
    let what = "ns_steps = 6 in lane 1 cannot be combined with ns_steps = 5 in lane 0";
    assert_error(
        new(Recipe::population([muon(5), muon(6)])),
        &format!("{what}: all lanes of group 'default' share one kernel"),
    );
}

/// If there are many names, the error lists only the nearest.
#[test]
fn an_unknown_name_among_many_gets_the_nearest() {
    let names: Vec<String> = (0..3_000).map(|i| format!("layers.{i}.weight")).collect();
    let shape: &[usize] = &[1];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), shape)).collect();
    let mut sgd = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), &tensors).expect("an optimizer");
    assert_error(sgd.params("layers.2718.wieght"), "unknown tensor 'layers.2718.wieght'; did you mean layers.2718.weight?");
    assert_error(sgd.params("embedding"), "unknown tensor 'embedding'; none of the 3000 names is near it");
}

/// A program can tell kinds of errors apart without reading their words.
#[test]
fn kinds_of_errors_are_told_apart() {
    let of = |recipe: Recipe| optimizer(recipe).map(drop).unwrap_err();
    let rule = || Recipe::new(Sgd::default());
    assert!(matches!(of(rule().sam(-1.0)), Error::Setting { field, .. } if field == "sam.rho"));
    assert!(
        matches!(of(rule().sam(0.1).half_copy(Half::F16)), Error::Conflict { what, with, .. } if (what.as_str(), with.as_str()) == ("half_copy", "sam"))
    );
    assert!(
        matches!(of(rule().schedule("rate", 0.1)), Error::Unknown { kind, name, .. } if (kind.as_str(), name.as_str()) == ("setting", "rate"))
    );
    assert!(matches!(of(rule().max_bad_steps(3)), Error::Missing { what, .. } if what == "max_bad_steps"));
    let mut plain = optimizer(rule()).expect("an optimizer");
    assert!(matches!(plain.ascend(), Err(Error::Missing { what, .. }) if what == "ascend"));
    assert!(matches!(plain.set_params("w", &[0.0]), Err(Error::Shape { .. })));
    let mut sam = optimizer(rule().sam(0.1)).expect("an optimizer");
    assert!(matches!(sam.step(), Err(Error::Order { call, .. }) if call == "step"));
    sam.ascend().expect("an ascent");
    assert!(matches!(sam.ascend(), Err(Error::Order { call, .. }) if call == "ascend"));
}

#[test]
fn a_group_needs_tensors_a_name_of_its_own_and_a_rule_per_lane() {
    let optimizer = |recipe: Recipe| {
        let tensors: [(&str, &[usize]); 3] = [("0.weight", &[2, 2]), ("0.bias", &[2]), ("scale", &[])];
        Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors)
    };
    let plain = || Recipe::new(Sgd::default());
    assert_error(
        optimizer(plain().group("cubes", |tensor| tensor.shape.len() == 3, Sgd::default())),
        "group 'cubes' (it takes none of '0.weight', '0.bias', 'scale') is empty",
    );
    // The first group that takes a tensor has it.
    let small = plain().group_of("small", Select::Below(2), Sgd::default());
    assert_error(
        optimizer(small.clone().group_of("biases", Select::Named("*.bias".into()), Sgd::default())),
        "group 'biases' (it takes none of '0.weight') is empty",
    );
    assert_error(
        optimizer(small.clone().group("all", |_| true, Sgd::default()).group("none", |_| true, Sgd::default())),
        "group 'none' (no tensor is left for it) is empty",
    );
    assert_error(optimizer(small.clone().group("small", |_| true, Sgd::default())), "group 'small' is given twice");
    assert_error(optimizer(plain().group("default", |_| true, Sgd::default())), "group 'default' is given twice");
    let two = plain().group("two", |_| true, [Sgd::default(), Sgd::default()]);
    assert_error(optimizer(two), "rules of group 'two': 2 found, 1, or 1, one per lane, expected");
    let many: Vec<String> = (0..8).map(|i| i.to_string()).collect();
    let many: Vec<(&str, &[usize])> = many.iter().map(|name| (&name[..], &[1][..])).collect();
    assert_error(
        Optimizer::new(&Cpu::<f32>::default(), plain().group_of("9", Select::Named("9".into()), Sgd::default()), &many),
        "group '9' (it takes none of '0', '1', '2', '3', '4' and 3 more) is empty",
    );
    // Without a tensor of its own the default group is no group.
    let mut all = optimizer(plain().group("all", |_| true, Sgd::default())).expect("an optimizer");
    assert_error(all.freeze("default", true), "unknown group 'default'; known: all");
    all.freeze("all", true).expect("a group");
    all.step().expect("a step");
    assert_eq!(all.report().expect("a report").frozen, 1);
}

/// A buffer that has to be in one piece and is too large.
fn beyond_a_binding(what: &str, needed: usize, allowed: usize) -> String {
    let remedy = "make it smaller, in several tensors if it can be, or take the CPU engine, which has no such limit";
    format!("{what} needs {needed} bytes in one binding, at most {allowed} are allowed here; {remedy}")
}

fn limited() -> Gpu {
    engines::open(GpuOptions { default_limits: true, ..Default::default() })
}

#[test]
fn more_lanes_than_workgroups_are_refused() {
    let layout = Layout::new(65_536);
    assert_error(
        limited().load(&Blueprint::of(&layout, &[Plan::default()])),
        "65536 lanes do not fit, 65535 do: each is a workgroup, and the device has no more in a dimension of a dispatch; train the others after them, in waves",
    );
}

/// A buffer that kernels want in one piece must fit into one binding; arenas are cut.
#[test]
fn a_buffer_beyond_a_binding_is_refused() {
    let elements = (128 << 20) / 4 + 1;
    let mut layout = Layout::new(1);
    let [input, output] = ["input", "output"].map(|name| layout.floats(name, elements));
    let mut plan = Plan::default();
    let (input, output) = (layout.whole(input), layout.whole(output));
    plan.operate(Map::new(&[input.len]).input(input, &[1]).output(output, Expr::input(0).relu()));
    let bytes = (elements.next_multiple_of(64)) * 4;
    let message = beyond_a_binding("the buffer 'input'", bytes, 128 << 20);
    assert_error(limited().load(&Blueprint::of(&layout, &[plan])), &message);
}

/// A software driver would end such a loop silently.
#[test]
fn a_loop_beyond_a_driver_is_refused_with_product_unit_and_remedy() {
    let gpu = limited();
    if !gpu.is_cpu() {
        return;
    }
    let mut layout = Layout::new(1);
    let [a, b, c] = [("a", 65_536), ("b", 65_536), ("c", 1)].map(|(name, len)| layout.floats(name, len));
    let mut plan = Plan::default();
    plan.operate(MatMul::new(layout.whole(a), layout.whole(b), layout.whole(c), 1, 65_536, 1));
    let message = "a product of 1 × 65536 and 65536 × 1 matrices needs 65536 turns of a loop, at most 65535 are allowed here; take \
                   smaller layers or batches, a real GPU, or the CPU engine, which have no such limit";
    assert_error(gpu.load(&Blueprint::of(&layout, &[plan])), message);
}

/// What is said of three lanes whose buffer kernels want in one piece.
const IN_ONE_PIECE: &str = "3 lanes do not fit, 1 do: the buffer 'input' of all lanes is one piece, each has 80128 bytes of it, and a binding at \
                            most 131072; train the others after them, in waves";

#[test]
fn lanes_beyond_a_binding_are_refused_with_its_limit() {
    let mut layout = Layout::new(3);
    let [input, output] = ["input", "output"].map(|name| layout.floats(name, 20_032));
    let mut plan = Plan::default();
    let (input, output) = (layout.whole(input), layout.whole(output));
    plan.operate(Map::new(&[input.len]).input(input, &[1]).output(output, Expr::input(0).relu()));
    assert_error(engines::small_bindings().load(&Blueprint::of(&layout, &[plan])), IN_ONE_PIECE);
}

#[test]
fn floats_and_indices_are_told_apart() {
    fn check(mut program: impl Program<Float = f32>, floats: BufferId, indices: BufferId) {
        assert_error(program.read(indices, 0), "i: Index found, Float expected");
        assert_error(program.read_indices(floats, 0), "f: Float found, Index expected");
        assert_error(program.write(floats, 0, 3, &[0.0, 0.0]), "f: 5 found, at most 4 elements expected");
        assert_error(program.write_indices(indices, 0, 0, &[0; 3]), "i: 3 found, at most 2 elements expected");
    }
    let mut layout = Layout::new(1);
    let (floats, indices) = (layout.floats("f", 4), layout.indices("i", 2));
    for engine in [engines::cpu(), engines::gpu()] {
        check(engine.load(&Blueprint::of(&layout, &[])).expect("a program"), floats, indices);
    }
}

/// Kernels run without bounds checks, so both engines refuse a plan that is not safe before it reaches a kernel.
#[test]
fn plans_that_kernels_cannot_trust_are_refused() {
    let mut layout = Layout::new(1);
    let (grads, partials, frozen) = (layout.floats("grads", 64), layout.floats("partials", 2), layout.indices("frozen", 1));
    let half = layout.half_arena("half", &Arena::default());
    let chunks = vec![Chunk { start: 2, len: 8, tensor: 0, group: 0 }];
    let refused = |op: Op, message: &str| {
        let mut plan = Plan::default();
        plan.push(op);
        for engine in [engines::cpu(), engines::gpu()] {
            assert_error(engine.load(&Blueprint::of(&layout, &[plan.clone()])), message);
        }
    };
    let norm = Norm::new(NormKind::L2, grads, chunks, partials, frozen);
    refused(Op::Norm(norm), "grads: others found, chunks that start at multiples of 64 expected");
    for engine in [engines::cpu(), engines::gpu()] {
        let mut program = engine.load(&Blueprint::of(&layout, &[])).expect("a program");
        assert_error(program.request(Tag::new(), &[half]), "half: halves found, floats or indices expected");
    }
}

/// Only whole buffers of several segments can be copied, not parts of them.
#[test]
fn a_part_of_what_lies_in_several_segments_is_not_copied() {
    let mut layout = Layout::new(3);
    let [input, output] = ["input", "output"].map(|name| layout.floats(name, 20_032));
    let copy = |len: usize| {
        let mut plan = Plan::default();
        let [input, output] = [input, output].map(|buffer| View { buffer, offset: 0, len });
        plan.operate(Copy { input, output });
        engines::small_bindings().load(&Blueprint::of(&layout, &[plan]))
    };
    assert_error(copy(10), IN_ONE_PIECE);
    let mut program = copy(20_032).expect("a program");
    program.write(input, 2, 0, &[1.0; 20_032]).expect("numbers");
    program.run(PlanId::FIRST, 1).expect("a copy");
    assert_eq!(program.read(output, 2).expect("numbers"), [1.0; 20_032]);
}

#[test]
fn a_set_of_groups_to_clip_is_checked() {
    let recipe = || Recipe::new(Sgd::default());
    assert_error(optimizer(recipe().clip_norm_of(["other"], 1.0)), "unknown group 'other'; known: default");
    assert_error(optimizer(recipe().clip_norm_of([], 1.0)), "a set of groups to clip is empty");
    assert_error(optimizer(recipe().clip_norm_of(["default"], 0.0)), "clip_norm_of = 0 is out of range: finite and above 0");
    let twice = recipe().clip_norm_of(["default"], 1.0).clip_norm_of(["default"], 1.0);
    assert_error(optimizer(twice), "group to clip 'default' is given twice");
    assert_error(
        optimizer(recipe().clip_norm(1.0).clip_norm_of(["default"], 1.0)),
        "clip_norm cannot be combined with clip_norm_of: its sets leave no group to it",
    );
    assert_error(
        optimizer(recipe().clip(thalweg::Clip::Value(1.0)).clip_norm_of(["default"], 1.0)),
        "clip_norm_of cannot be combined with a clip by another norm than L2: all sets have the same kind of norm",
    );
}

/// A change that a recipe would refuse at its start is refused later too.
#[test]
fn a_decay_of_the_rule_beside_the_recipes_is_refused_whenever_it_comes() {
    let message = "a weight decay of the recipe cannot be combined with weight_decay = 0.1 in adamw: the decay would count twice: \
                   set weight_decay to 0";
    let recipe =
        |weight_decay| Recipe::new(AdamW { weight_decay, ..Default::default() }).weight_decay(thalweg::Decay::Decoupled(0.1));
    assert_error(optimizer(recipe(0.1)), message);
    let mut plain = optimizer(recipe(0.0)).expect("an optimizer");
    assert_error(plain.set("default", "weight_decay", 0.1), message);
    plain.set("default", "lr", 0.1).expect("a rate");
}

#[test]
fn modifiers_are_one_for_all_lanes_or_one_for_each() {
    let lanes = || Recipe::population([Sgd::default(), Sgd::default()]);
    assert_error(optimizer(lanes().clip_norm([1.0; 3])), "clip of lanes: 3 found, 1, or 2, one per lane, expected");
    assert_error(optimizer(lanes().l1([0.0, -1.0])), "l1 = -1 is out of range: finite and at least 0");
    let clips = [thalweg::Clip::Value(1.0), thalweg::Clip::Normalise(NormKind::L2)];
    assert_error(
        optimizer(lanes().clip(clips)),
        "Normalise(L2) in lane 1 cannot be combined with Value(1.0) in lane 0: all lanes share one kernel",
    );
    let wrong = |what: &str| format!("{what} of lanes: 3 found, 1, or 2, one per lane, expected");
    let decays = [0.1; 3].map(thalweg::Decay::Decoupled);
    for (what, recipe) in [
        ("clip_norm_of", lanes().clip_norm_of(["default"], [1.0; 3])),
        ("grad_scale", lanes().grad_scale([1.0; 3])),
        ("weight_decay", lanes().weight_decay(decays)),
        ("average", lanes().average([thalweg::Average::Ema { decay: 0.9 }; 3])),
        ("lookahead", lanes().lookahead([thalweg::Lookahead::default(); 3])),
        ("loss_scale", lanes().loss_scale([thalweg::plan::LossScale::default(); 3])),
        ("sam", lanes().sam([0.1; 3])),
        ("a schedule of lr", lanes().schedule("lr", [0.1; 3])),
        ("a scale of lr in group 'default'", lanes().scale_group("default", "lr", [0.1; 3])),
    ] {
        assert_error(optimizer(recipe), &wrong(what));
    }
    let none: Vec<f64> = Vec::new();
    assert_error(optimizer(lanes().grad_scale(none.clone())), "grad_scale of lanes: 0 found, 1, or 2, one per lane, expected");
    assert_error(optimizer(lanes().clip_norm(none)), "clip of lanes: 0 found, 1, or 2, one per lane, expected");
    assert_error(optimizer(Recipe::new(Sgd::default()).l1([0.1; 2])), "l1 of lanes: 2 found, 1 expected");
    assert_error(optimizer(lanes().sam([0.1, 0.0])), "sam.rho = 0 is out of range: finite and above 0");
    let scales = [thalweg::plan::LossScale::default(), thalweg::plan::LossScale { growth: 1.0, ..Default::default() }];
    assert_error(optimizer(lanes().loss_scale(scales)), "loss_scale.growth = 1 is out of range: finite and above 1");
}

/// A handle of a lane has the calls of the optimizer without the lane.
#[test]
fn lanes_have_handles() {
    let mut two = optimizer(Recipe::population([0.5, 0.25].map(|lr| Sgd { lr, ..Default::default() }))).expect("an optimizer");
    assert_error(two.lane(2).map(drop), "lane = 2 is out of range: below 2");
    let name = two.arena().tensors()[0].name.clone();
    let len = two.arena().tensors()[0].len();
    let mut second = two.lane(1).expect("a lane");
    second.set_grads(&name, &vec![1.0; len]).expect("gradients");
    second.set("default", "lr", 2.0).expect("a rate");
    two.step().expect("a step");
    assert_eq!(two.lane(0).expect("a lane").params(&name).expect("parameters"), vec![0.0; len]);
    assert_eq!(two.lane(1).expect("a lane").params(&name).expect("parameters"), vec![-2.0; len]);
    let mut one = optimizer(Recipe::new(Sgd::default())).expect("an optimizer");
    assert_eq!((one.report().expect("a report").applied, one.lane(0).expect("a lane").index()), (0, 0));
    // With several lanes, a call without a lane is an error.
    assert_error(two.params(&name), "params needs a lane, since there are 2, for example lane(0)?.params");
    type Fails = fn(&mut Optimizer<CpuProgram<f32>>) -> bool;
    let calls: [Fails; 18] = [
        |two| two.params("w").is_err(),
        |two| two.set_params("w", &[]).is_err(),
        |two| two.set_grads("w", &[]).is_err(),
        |two| two.eval_params("w").is_err(),
        |two| two.eval_arena().is_err(),
        |two| two.averaged("w").is_err(),
        |two| two.set_averaged("w", &[]).is_err(),
        |two| two.half("w").is_err(),
        |two| two.slow("w").is_err(),
        |two| two.set_slow("w", &[]).is_err(),
        |two| two.state("w", "m").is_err(),
        |two| two.set_state("w", "m", &[]).is_err(),
        |two| two.inspection().is_err(),
        |two| two.report().is_err(),
        |two| two.set("default", "lr", 0.1).is_err(),
        |two| two.freeze("default", true).is_err(),
        |two| two.set_applied("default", 1).is_err(),
        |two| two.set_loss_scale(1.0).is_err(),
    ];
    calls.iter().enumerate().for_each(|(index, fails)| assert!(fails(&mut two), "call {index}"));
}
