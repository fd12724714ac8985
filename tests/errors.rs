//! What is refused, and the exact words.

mod common;

use common::engines;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::{Activation, Arena, BufferId, Engine, Layout, LossScale, NormKind, Op, Plan, Program};
use thalweg::{
    Adagrad, Adam, AdamW, AnyRule, Clip, Error, Optimizer, Recipe, Result, RmsProp, Setting, Sgd, rule_by_name, rules, set,
};

/// Rule, settings, message.
const BAD_SETTINGS: &[(&str, &str, &str)] = &[
    ("sgd", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("sgd", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("sgd", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("sgd", "momentum=1", "momentum = 1 is out of range: at least 0 and below 1"),
    ("sgd", "momentum=-0.5", "momentum = -0.5 is out of range: at least 0 and below 1"),
    ("sgd", "dampening=inf", "dampening = inf is out of range: finite"),
    ("sgd", "weight_decay=-0.1", "weight_decay = -0.1 is out of range: finite and at least 0"),
    (
        "sgd",
        "nesterov=true",
        "nesterov = true with momentum 0 and dampening 0 is out of range: momentum above 0 and dampening 0",
    ),
    (
        "sgd",
        "nesterov=true momentum=0.9 dampening=0.5",
        "nesterov = true with momentum 0.9 and dampening 0.5 is out of range: momentum above 0 and dampening 0",
    ),
    ("rmsprop", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("rmsprop", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("rmsprop", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("rmsprop", "alpha=1", "alpha = 1 is out of range: at least 0 and below 1"),
    ("rmsprop", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("rmsprop", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("rmsprop", "momentum=1.5", "momentum = 1.5 is out of range: at least 0 and below 1"),
    ("adam", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("adam", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("adam", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("adam", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("adam", "beta2=-0.1", "beta2 = -0.1 is out of range: at least 0 and below 1"),
    ("adam", "eps=-1", "eps = -1 is out of range: finite and above 0"),
    ("adam", "weight_decay=NaN", "weight_decay = NaN is out of range: finite and at least 0"),
    ("adamw", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("adamw", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("adamw", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("adamw", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("adamw", "beta2=1", "beta2 = 1 is out of range: at least 0 and below 1"),
    ("adamw", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("adamw", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("adagrad", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("adagrad", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("adagrad", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("adagrad", "lr_decay=-1", "lr_decay = -1 is out of range: finite and at least 0"),
    ("adagrad", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("adagrad", "initial_accumulator_value=-1", "initial_accumulator_value = -1 is out of range: finite and at least 0"),
    ("adagrad", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("radam", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("radam", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("radam", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("radam", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("radam", "beta2=1", "beta2 = 1 is out of range: at least 0 and below 1"),
    ("radam", "beta2=-0.1", "beta2 = -0.1 is out of range: at least 0 and below 1"),
    ("radam", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("radam", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("radam", "weight_decay=NaN", "weight_decay = NaN is out of range: finite and at least 0"),
    ("adamax", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("adamax", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("adamax", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("adamax", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("adamax", "beta2=1", "beta2 = 1 is out of range: at least 0 and below 1"),
    ("adamax", "beta2=-0.1", "beta2 = -0.1 is out of range: at least 0 and below 1"),
    ("adamax", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("adamax", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("adamax", "weight_decay=NaN", "weight_decay = NaN is out of range: finite and at least 0"),
    ("adadelta", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("adadelta", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("adadelta", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("adadelta", "rho=1", "rho = 1 is out of range: at least 0 and below 1"),
    ("adadelta", "rho=-0.1", "rho = -0.1 is out of range: at least 0 and below 1"),
    ("adadelta", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("adadelta", "eps=-1", "eps = -1 is out of range: finite and above 0"),
    ("adadelta", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("nadam", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("nadam", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("nadam", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("nadam", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("nadam", "beta2=-0.1", "beta2 = -0.1 is out of range: at least 0 and below 1"),
    ("nadam", "eps=0", "eps = 0 is out of range: finite and above 0"),
    ("nadam", "momentum_decay=-1", "momentum_decay = -1 is out of range: finite and at least 0"),
    ("nadam", "momentum_decay=NaN", "momentum_decay = NaN is out of range: finite and at least 0"),
    ("nadam", "momentum_decay=inf", "momentum_decay = inf is out of range: finite and at least 0"),
    ("nadam", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("asgd", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("asgd", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("asgd", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("asgd", "lambd=-1", "lambd = -1 is out of range: finite and at least 0"),
    ("asgd", "lambd=inf", "lambd = inf is out of range: finite and at least 0"),
    ("asgd", "alpha=-1", "alpha = -1 is out of range: finite and at least 0"),
    ("asgd", "alpha=inf", "alpha = inf is out of range: finite and at least 0"),
    ("asgd", "t0=-1", "t0 = -1 is out of range: finite and at least 0"),
    ("asgd", "t0=inf", "t0 = inf is out of range: finite and at least 0"),
    ("asgd", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
    ("asgd", "weight_decay=inf", "weight_decay = inf is out of range: finite and at least 0"),
    ("rprop", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("rprop", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("rprop", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("rprop", "eta_minus=0", "eta_minus = 0 is out of range: above 0 and below 1"),
    ("rprop", "eta_minus=1", "eta_minus = 1 is out of range: above 0 and below 1"),
    ("rprop", "eta_plus=1", "eta_plus = 1 is out of range: finite and above 1"),
    ("rprop", "eta_plus=inf", "eta_plus = inf is out of range: finite and above 1"),
    ("rprop", "step_min=-1", "step_min = -1 is out of range: finite and at least 0"),
    ("rprop", "step_max=1e-7", "step_max = 0.0000001 is out of range: finite and at least step_min, 0.000001"),
    ("rprop", "step_max=inf", "step_max = inf is out of range: finite and at least step_min, 0.000001"),
    ("lion", "lr=-1", "lr = -1 is out of range: finite and at least 0"),
    ("lion", "lr=NaN", "lr = NaN is out of range: finite and at least 0"),
    ("lion", "lr=inf", "lr = inf is out of range: finite and at least 0"),
    ("lion", "beta1=1", "beta1 = 1 is out of range: at least 0 and below 1"),
    ("lion", "beta1=-0.1", "beta1 = -0.1 is out of range: at least 0 and below 1"),
    ("lion", "beta2=1", "beta2 = 1 is out of range: at least 0 and below 1"),
    ("lion", "weight_decay=-1", "weight_decay = -1 is out of range: finite and at least 0"),
];

fn configured(name: &str, settings: &str) -> Box<dyn AnyRule> {
    let mut rule = rule_by_name(name).expect("a registered rule");
    for setting in settings.split_whitespace() {
        let (key, value) = setting.split_once('=').expect("name=value");
        set(&mut *rule, key, value).expect("a setting");
    }
    rule
}

/// The names of a rule's numbers.
fn numbers_of(rule: &dyn AnyRule) -> Vec<&'static str> {
    let mut rule = rule.boxed();
    let numbers = rule.settings().into_iter().filter(|(_, setting)| matches!(setting, Setting::Number(_)));
    numbers.map(|(name, _)| name).collect()
}

fn optimizer(recipe: Recipe) -> Result<Optimizer<CpuProgram<f32>>> {
    Optimizer::new(&Cpu::default(), recipe, &[("w", &[2, 3])])
}

#[track_caller]
fn assert_error<T>(result: Result<T>, message: &str) {
    match result {
        Ok(_) => panic!("no error, expected: {message}"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

#[test]
fn bad_settings_are_named_with_their_range() {
    for (name, settings, message) in BAD_SETTINGS {
        let rule = configured(name, settings);
        assert_error(rule.check(), message);
        assert_error(optimizer(Recipe::new(rule)), message);
    }
}

#[test]
fn every_rule_has_bad_settings_in_the_table() {
    for rule in rules() {
        for number in numbers_of(&*rule) {
            let sets = |settings: &str| settings.split_whitespace().any(|setting| setting.starts_with(&format!("{number}=")));
            let listed = BAD_SETTINGS.iter().any(|(name, settings, _)| *name == rule.name() && sets(settings));
            assert!(listed, "{number} of {} is missing", rule.name());
        }
    }
}

#[test]
fn nan_is_no_setting_of_any_rule() {
    for rule in rules() {
        for name in numbers_of(&*rule) {
            let error = configured(rule.name(), &format!("{name}=NaN")).check().expect_err(name).to_string();
            assert!(error.starts_with(&format!("{name} = NaN is out of range: ")), "{error}");
        }
    }
}

#[test]
fn the_bad_setting_of_a_later_lane_or_group_is_found() {
    let good = || Sgd::default();
    let bad = || Sgd { lr: -1.0, ..Default::default() };
    let message = "lr = -1 is out of range: finite and at least 0";
    assert_error(optimizer(Recipe::population([good(), good(), bad()])), message);
    assert_error(optimizer(Recipe::groups([good(), bad()])), message);
}

#[test]
fn a_text_that_is_no_value_is_refused() {
    let mut adam = Adam::default();
    assert_error(set(&mut adam, "lr", "fast"), "lr = fast is out of range: a number");
    assert_error(set(&mut adam, "amsgrad", "1"), "amsgrad = 1 is out of range: true or false");
    assert_eq!(adam, Adam::default());
}

#[test]
fn an_unknown_name_comes_with_the_known_ones() {
    assert_error(
        rule_by_name("adamm"),
        "unknown rule 'adamm'; known: sgd, rmsprop, adam, adamw, adagrad, radam, adamax, adadelta, nadam, asgd, rprop, lion",
    );
    assert_error(
        set(&mut Sgd::default(), "beta1", "0.9"),
        "unknown setting 'beta1'; known: lr, momentum, dampening, weight_decay, nesterov, maximize",
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

/// What a recipe adds to a rule, and the message.
#[test]
fn bad_settings_of_a_recipe_are_named_with_their_range() {
    let plain = || Recipe::new(Sgd::default());
    let clip = |kind| move |max| plain().clip(Clip::Norm { max, kind });
    let scale = |rule: LossScale| plain().loss_scale(rule);
    let standard = LossScale::default();
    /// A field, a recipe with a value of it, and the values that are refused with those that are allowed.
    type Case<'a> = (&'a str, &'a dyn Fn(f64) -> Recipe, &'a [(&'a str, &'a str)]);
    let not_positive = [("0", "finite and above 0"), ("-1", "finite and above 0")];
    let not_finite = [("NaN", "finite and above 0"), ("inf", "finite and above 0"), ("-inf", "finite and above 0")];
    let single = "from 1.2e-38 to 3.4e38, the range of single precision";
    let not_single = [("1e-39", single), ("1e39", single)];
    let positive = [&not_positive[..], &not_finite, &not_single].concat();
    let not_negative = ["-1", "-1e-9", "NaN", "inf", "-inf"].map(|value| (value, "finite and at least 0"));
    let growth = ["1", "0", "-2", "NaN", "inf", "-inf"].map(|value| (value, "finite and above 1"));
    let backoff = ["1", "0", "-0.5", "2", "NaN", "inf", "-inf"].map(|value| (value, "above 0 and below 1"));
    let table: [Case<'_>; 10] = [
        ("clip_norm", &|max| plain().clip_norm(max), &positive),
        ("clip_norm", &clip(NormKind::L2), &positive),
        ("clip_norm", &clip(NormKind::L1), &positive),
        ("clip_norm", &clip(NormKind::Max), &positive),
        ("clip_value", &|max| plain().clip(Clip::Value(max)), &positive),
        ("grad_scale", &|scale| plain().grad_scale(scale), &positive),
        ("l1", &|l1| plain().l1(l1), &not_negative),
        ("loss_scale.init", &|init| scale(LossScale { init, ..standard }), &positive),
        ("loss_scale.growth", &|growth| scale(LossScale { growth, ..standard }), &growth),
        ("loss_scale.backoff", &|backoff| scale(LossScale { backoff, ..standard }), &backoff),
    ];
    for (field, build, cases) in table {
        for (value, allowed) in cases {
            let recipe = build(value.parse().expect("a number"));
            let value = if *value == "-1e-9" { "-0.000000001" } else { value };
            assert_error(optimizer(recipe), &format!("{field} = {value} is out of range: {allowed}"));
        }
    }
    let never = scale(LossScale { interval: 0, ..standard });
    assert_error(optimizer(never), "loss_scale.interval = 0 is out of range: at least 1");
}

#[test]
fn settings_of_a_recipe_at_the_ends_of_their_ranges_are_taken() {
    let plain = || Recipe::new(Sgd::default());
    for end in [f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)] {
        let growth = [1.0 + f64::EPSILON, f64::MAX];
        let backoff = [f64::MIN_POSITIVE, 1.0 - f64::EPSILON];
        for (growth, backoff) in growth.into_iter().zip(backoff) {
            let scale = LossScale { init: end, growth, backoff, interval: 1 };
            optimizer(plain().loss_scale(scale).grad_scale(end).clip_norm(end).l1(0.0)).expect("an optimizer");
        }
        optimizer(plain().clip(Clip::Value(end)).l1(end)).expect("an optimizer");
    }
}

#[test]
fn what_is_frozen_must_exist() {
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = || [0.1, 0.2].map(|lr| Sgd { lr, ..Default::default() });
        let mut lanes = Optimizer::new(&engine, Recipe::population(rules()), &[("w", &[1])]).expect("an optimizer");
        let mut arena = Arena::default();
        arena.add("w", &[1], 1).expect("a name");
        let mut groups = Optimizer::over(&engine, Recipe::groups(rules()), arena).expect("an optimizer");
        for frozen in [true, false] {
            assert_error(lanes.freeze(2, 0, frozen), "lane = 2 is out of range: below 2");
            assert_error(lanes.freeze(0, 1, frozen), "group = 1 is out of range: below 1");
            assert_error(groups.freeze(1, 0, frozen), "lane = 1 is out of range: below 1");
            assert_error(groups.freeze(0, 2, frozen), "group = 2 is out of range: below 2");
            assert!(matches!(groups.freeze(0, usize::MAX, frozen), Err(Error::Setting { field, .. }) if field == "group"));
            lanes.freeze(1, 0, frozen).expect("the last lane");
            groups.freeze(0, 1, frozen).expect("the last group");
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
    assert_error(optimizer(Recipe::groups(Vec::<Sgd>::new())), "the list of rules is empty");
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
    let boxed: [Box<dyn AnyRule>; 2] = [Box::new(RmsProp::default()), Box::new(Adagrad::default())];
    assert!(matches!(optimizer(Recipe::groups(boxed)), Err(Error::Shape { .. })));
}

#[test]
fn a_tensor_needs_an_existing_group() {
    let mut arena = Arena::default();
    arena.add("w", &[1], 2).expect("a name");
    let over = Optimizer::over(&Cpu::<f32>::default(), Recipe::groups([Sgd::default(), Sgd::default()]), arena);
    assert_error(over, "group of tensor 'w' = 2 is out of range: below 2");
}

fn limited() -> Gpu {
    engines::open(GpuOptions { default_limits: true, ..Default::default() })
}

#[test]
fn more_lanes_than_workgroups_are_refused() {
    let layout = Layout::new(65_536);
    assert_error(limited().load(&layout, &[Plan::default()]), "the number of lanes needs 65536, the adapter allows 65535");
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
    let message = format!("input in one binding needs {bytes}, the adapter allows {}", 128 << 20);
    assert_error(limited().load(&layout, &[plan]), &message);
}

#[test]
fn lanes_beyond_a_binding_are_refused_with_its_limit() {
    let mut layout = Layout::new(3);
    let [input, output] = ["input", "output"].map(|name| layout.floats(name, 20_032));
    let mut plan = Plan::default();
    let (input, output) = (layout.whole(input), layout.whole(output));
    plan.push(Op::Activate { f: Activation::Relu, input, output });
    let message = "input in one binding needs 240384, the adapter allows 131072";
    assert_error(engines::small_bindings().load(&layout, &[plan]), message);
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
        check(engine.load(&layout, &[]).expect("a program"), floats, indices);
    }
}
