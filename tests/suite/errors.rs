//! What is refused, and the exact words: names, lengths, lanes, groups and limits. Settings are in settings.rs.

use crate::common::engines;
use crate::common::groups::{GROUPS, grouped};
use crate::common::refusal::{assert_error, optimizer};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::{
    Activation, Arena, Blueprint, BufferId, Chunk, Engine, Layout, Loss, MatMul, Norm, NormKind, Op, Plan, PlanId, Program,
    View,
};
use thalweg::{Adam, AdamW, AnyRule, Error, Optimizer, Recipe, Select, Sgd, rule_by_name, set};

#[test]
fn an_unknown_name_comes_with_the_known_ones() {
    assert_error(
        rule_by_name("adamm"),
        "unknown rule 'adamm'; known: sgd, rmsprop, adam, adamw, adagrad, radam, adamax, adadelta, nadam, asgd, rprop, lion, lars, lamb, novograd, ademamix, adan, \
         schedulefree, adafactor, muon",
    );
    assert_error(
        set(&mut Sgd::default(), "beta1", "0.9"),
        "unknown setting 'beta1'; known: lr, momentum, dampening, weight_decay, nesterov, lr_inside, maximize",
    );
    let mut adam = optimizer(Recipe::new(Adam::default())).expect("an optimizer");
    assert_error(adam.params(0, "v"), "unknown tensor 'v'; known: w");
    assert_error(adam.set_grads(0, "W", &[0.0; 6]), "unknown tensor 'W'; known: w");
    assert_error(adam.state("w", 0, "w"), "unknown plane 'w'; known: m, v");
    let mut sgd = optimizer(Recipe::new(Sgd::default())).expect("an optimizer");
    assert_error(sgd.state("b", 0, "w"), "unknown plane 'b'; known: ");
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
            assert_error(lanes.freeze(2, "default", frozen), "lane = 2 is out of range: below 2");
            assert_error(lanes.freeze(0, GROUPS[1], frozen), "unknown group 'group 1'; known: default");
            assert_error(groups.freeze(1, "default", frozen), "lane = 1 is out of range: below 1");
            assert_error(groups.freeze(0, "", frozen), "unknown group ''; known: default, group 1");
            lanes.freeze(1, "default", frozen).expect("the last lane");
            groups.freeze(0, GROUPS[1], frozen).expect("the last group");
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
    assert_error(sgd.set_params(0, "w", &[0.0; 5]), "tensor 'w': 5 found, 6 elements expected");
    assert_error(sgd.set_grads(0, "w", &[0.0; 7]), "tensor 'w': 7 found, 6 elements expected");
}

#[test]
fn a_lane_must_exist() {
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = [0.1, 0.2].map(|lr| Sgd { lr, ..Default::default() });
        let mut sgd = Optimizer::new(&engine, Recipe::population(rules), &[("w", &[1])]).expect("an optimizer");
        assert_error(sgd.params(2, "w"), "lane = 2 is out of range: below 2");
        assert_error(sgd.set_params(2, "w", &[0.0]), "lane = 2 is out of range: below 2");
        assert_error(sgd.report(2), "lane = 2 is out of range: below 2");
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
    assert_error(
        optimizer(Recipe::population([momentum(0.0), momentum(0.9)])),
        "a rule of the population: sgd with [(\"MOMENTUM\", true)] and planes [0] found, \
         sgd with [(\"MOMENTUM\", false)] and planes [] expected",
    );
    let boxed: [Box<dyn AnyRule>; 2] = [Box::new(Adam::default()), Box::new(AdamW::default())];
    assert_error(
        optimizer(Recipe::population(boxed)),
        "a rule of the population: adamw with [(\"AMSGRAD\", false)] and planes [0, 1] found, \
         adam with [(\"AMSGRAD\", false)] and planes [0, 1] expected",
    );
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
    assert_error(all.freeze(0, "default", true), "unknown group 'default'; known: all");
    all.freeze(0, "all", true).expect("a group");
    all.step().expect("a step");
    assert_eq!(all.report(0).expect("a report").frozen, 1);
}

/// What is wanted in one piece and cannot be.
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
        "the population needs 65536 lanes, at most 65535 are allowed here; split the population into several programs, or take the CPU engine",
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
    plan.push(Op::Activate { f: Activation::Relu, input, output });
    let bytes = (elements.next_multiple_of(64)) * 4;
    let message = beyond_a_binding("the buffer 'input'", bytes, 128 << 20);
    assert_error(limited().load(&Blueprint::of(&layout, &[plan])), &message);
}

/// A software driver would end the loop silently.
#[test]
fn a_loop_beyond_a_driver_is_refused_with_product_unit_and_remedy() {
    let gpu = limited();
    if !gpu.is_cpu() {
        return;
    }
    let mut layout = Layout::new(1);
    let [a, b, c] = [("a", 65_536), ("b", 65_536), ("c", 1)].map(|(name, len)| layout.floats(name, len));
    let mut plan = Plan::default();
    plan.push(Op::MatMul(MatMul::new(layout.whole(a), layout.whole(b), layout.whole(c), 1, 65_536, 1)));
    let message = "a product of 1 × 65536 and 65536 × 1 matrices needs 65536 turns of a loop, at most 65535 are allowed here; take \
                   smaller layers or batches, a real GPU, or the CPU engine, which have no such limit";
    assert_error(gpu.load(&Blueprint::of(&layout, &[plan])), message);
}

#[test]
fn lanes_beyond_a_binding_are_refused_with_its_limit() {
    let mut layout = Layout::new(3);
    let [input, output] = ["input", "output"].map(|name| layout.floats(name, 20_032));
    let mut plan = Plan::default();
    let (input, output) = (layout.whole(input), layout.whole(output));
    plan.push(Op::Activate { f: Activation::Relu, input, output });
    let message = beyond_a_binding("the buffer 'input'", 240_384, 131_072);
    assert_error(engines::small_bindings().load(&Blueprint::of(&layout, &[plan])), &message);
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

/// Kernels run without bounds checks: a plan that they cannot trust is refused by both engines before it reaches one.
#[test]
fn plans_that_kernels_cannot_trust_are_refused() {
    let mut layout = Layout::new(1);
    let (grads, partials, frozen) = (layout.floats("grads", 64), layout.floats("partials", 2), layout.indices("frozen", 1));
    let (losses, all, half) =
        (layout.floats("losses", 3), layout.floats("all", 64), layout.half_arena("half", &Arena::default()));
    let targets = layout.shared_floats("targets", 64);
    let chunks = vec![Chunk { start: 2, len: 8, tensor: 0, group: 0 }];
    let refused = |op: Op, message: &str| {
        let mut plan = Plan::default();
        plan.push(op);
        for engine in [engines::cpu(), engines::gpu()] {
            assert_error(engine.load(&Blueprint::of(&layout, &[plan.clone()])), message);
        }
    };
    let norm = Norm { kind: NormKind::L2, grads, chunks, partials, frozen };
    refused(Op::Norm(norm), "grads: others found, chunks that start at multiples of 64 expected");
    let [predictions, targets, losses, grad] = [grads, targets, losses, all].map(|id| layout.whole(id));
    let loss = Loss::SquaredError { predictions, targets, losses, grad, scale: 1.0 };
    refused(Op::Loss(loss), "targets: 64 found, a multiple of 3 elements expected");
    for engine in [engines::cpu(), engines::gpu()] {
        let mut program = engine.load(&Blueprint::of(&layout, &[])).expect("a program");
        assert_error(program.request(&[half]), "half: halves found, floats or indices expected");
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
        plan.push(Op::Copy { input, output });
        engines::small_bindings().load(&Blueprint::of(&layout, &[plan]))
    };
    assert_error(copy(10), &beyond_a_binding("the buffer 'input'", 240_384, 131_072));
    let mut program = copy(20_032).expect("a program");
    program.write(input, 2, 0, &[1.0; 20_032]).expect("numbers");
    program.run(PlanId::FIRST, 1).expect("a copy");
    assert_eq!(program.read(output, 2).expect("numbers"), [1.0; 20_032]);
}
