//! The settings of every rule, every schedule and the recipe: which values are refused, and with which messages.

use crate::common::refusal::{assert_error, optimizer};
use thalweg::cpu::Cpu;
use thalweg::plan::{LossScale, NormKind};
use thalweg::schedule::{factor_by_name, factors};
use thalweg::{Adam, AdjustLr, AnyRule, Clip, Decay, Muon, Optimizer, Recipe, Result, Sgd, rule_by_name, rules, set};

// The allowed values, as in the messages.
const NUMBER: &str = "a number";
const WHOLE: &str = "a whole number";
const FLAG: &str = "true or false";
const LIST: &str = "numbers separated by commas";
const NOT_NEGATIVE: &str = "finite and at least 0";
const POSITIVE: &str = "finite and above 0";
const FRACTION: &str = "at least 0 and below 1";
const INNER: &str = "above 0 and below 1";
const AT_MOST_1: &str = "above 0 and at most 1";
const AT_LEAST_1: &str = "finite and at least 1";
const SOME: &str = "at least 1";
const STEPS: &str = "a whole number of at least 0";
const FINITE: &str = "finite";
const ADJUST_LR: &str = "original, match_rms_adamw or spectral_unclamped";
const POWER: &str = "from 0 to 100";
const UP_TO_SINGLE: &str = "from 0 to 3.4e38, the range of single precision";
const IN_SINGLE: &str = "from -3.4e38 to 3.4e38, the range of single precision";
const SINGLE: &str = "from 1.2e-38 to 3.4e38, the range of single precision";

/// For each of these ranges: values just outside and far outside, then values at or near its ends.
const RANGES: &[(&str, &[&str], &[&str])] = &[
    (NUMBER, &["fast", "", "1,5"], &[]),
    (WHOLE, &["0.5", "-1", "many"], &[]),
    (FLAG, &["1", "yes", ""], &["false"]),
    (LIST, &["3;4", "x"], &[]),
    (NOT_NEGATIVE, &["-0.000000001", "-1", "NaN", "inf", "-inf"], &["0", "0.5"]),
    (POSITIVE, &["0", "-1", "NaN", "inf", "-inf"], &["0.000001", "0.5"]),
    (SINGLE, &["1e-39", "1e39"], &["1.2e-38"]),
    (UP_TO_SINGLE, &["1e39", "3.5e38"], &["1"]),
    (IN_SINGLE, &["1e39", "3.5e38"], &[]),
    (FRACTION, &["1", "1.5", "-0.1", "NaN", "inf", "-inf"], &["0", "0.999999"]),
    (INNER, &["0", "1", "1.5", "-0.1", "NaN", "inf", "-inf"], &["0.000001", "0.999999"]),
    (AT_MOST_1, &["0", "1.1", "-0.1", "NaN", "inf", "-inf"], &["0.000001", "1"]),
    (AT_LEAST_1, &["0.9", "-1", "NaN", "inf", "-inf"], &["1", "2"]),
    (SOME, &["0"], &["1"]),
    ("at least 1 with cycle", &["0"], &["1"]),
    (STEPS, &["0.5", "-1", "NaN", "inf", "-inf"], &["0", "7"]),
    (POWER, &["-0.1", "100.1", "NaN", "inf", "-inf"], &["0", "100"]),
    // Of one setting each.
    ("finite and at most 0", &["0.1", "1", "NaN", "inf", "-inf"], &["-0.8", "0"]),
    (FINITE, &["NaN", "inf", "-inf"], &["-3", "3"]),
    ("at most 100", &["101", "100000"], &["0", "100"]),
    (ADJUST_LR, &["round", "", "1"], &["match_rms_adamw", "spectral_unclamped", "original"]),
    ("finite and above 1", &["1", "0", "NaN", "inf", "-inf"], &["1.000001", "2"]),
    ("finite and at least step_min, 0.000001", &["0.0000001", "-1", "NaN", "inf", "-inf"], &["0.000001", "50"]),
    ("a whole number or none", &["0.5", "-1", "half"], &["none", "3"]),
    ("triangular, triangular2 or exp_range", &["round", ""], &["triangular2"]),
    ("cosine, linear or one_minus_sqrt", &["round", ""], &["linear"]),
    ("1 unless mode is exp_range", &["0.9", "NaN"], &["1"]),
    ("above 0 and at most 0.5, since there are three phases", &["0", "0.6", "-0.1", "NaN", "inf"], &["0.000001", "0.5"]),
    ("at least 0 and at most from, 1, since gamma is at most 1", &["1.1"], &["0", "1"]),
    ("finite and at least from, 1, since gamma is above 1", &["0", "0.9"], &["1", "2"]),
];

/// A setting, and all messages about it.
type Setting = (&'static str, &'static [&'static str]);

/// Of a rule.
const fn number(name: &'static str) -> Setting {
    (name, &[NUMBER, NOT_NEGATIVE, UP_TO_SINGLE])
}

/// Of a schedule, whose values are multiplied in double precision.
const fn not_negative(name: &'static str) -> Setting {
    (name, &[NUMBER, NOT_NEGATIVE])
}

const fn positive(name: &'static str) -> Setting {
    (name, &[NUMBER, POSITIVE, SINGLE])
}

const fn fraction(name: &'static str) -> Setting {
    (name, &[NUMBER, FRACTION])
}

const fn flag(name: &'static str) -> Setting {
    (name, &[FLAG])
}

const fn some(name: &'static str) -> Setting {
    (name, &[WHOLE, SOME])
}

const fn whole(name: &'static str) -> Setting {
    (name, &[WHOLE])
}

const LR: Setting = number("lr");
const VALUE: Setting = not_negative("value");
const FROM: Setting = not_negative("from");
const PEAK: Setting = not_negative("peak");
const BETA1: Setting = fraction("beta1");
const BETA2: Setting = fraction("beta2");
const EPS: Setting = positive("eps");
const DECAY: Setting = number("weight_decay");
const MAXIMIZE: Setting = flag("maximize");
const WARMUP: Setting = whole("warmup");

/// The settings of every rule, in order.
const RULES: &[(&str, &[Setting])] = &[
    (
        "sgd",
        &[
            LR,
            fraction("momentum"),
            ("dampening", &[NUMBER, FINITE, IN_SINGLE]),
            DECAY,
            flag("nesterov"),
            flag("lr_inside"),
            MAXIMIZE,
        ],
    ),
    (
        "rmsprop",
        &[
            LR,
            fraction("alpha"),
            EPS,
            DECAY,
            fraction("momentum"),
            flag("centered"),
            flag("eps_inside"),
            flag("lr_inside"),
            MAXIMIZE,
        ],
    ),
    ("adam", &[LR, BETA1, BETA2, EPS, DECAY, flag("eps_hat"), flag("amsgrad"), MAXIMIZE]),
    ("adamw", &[LR, BETA1, BETA2, EPS, DECAY, flag("independent_weight_decay"), flag("eps_hat"), flag("amsgrad"), MAXIMIZE]),
    ("adagrad", &[LR, number("lr_decay"), DECAY, number("initial_accumulator_value"), EPS, flag("eps_inside"), MAXIMIZE]),
    ("radam", &[LR, BETA1, BETA2, EPS, DECAY, flag("decoupled_weight_decay"), MAXIMIZE]),
    ("adamax", &[LR, BETA1, BETA2, EPS, DECAY, MAXIMIZE]),
    ("adadelta", &[LR, fraction("rho"), EPS, DECAY, MAXIMIZE]),
    ("nadam", &[LR, BETA1, BETA2, EPS, number("momentum_decay"), DECAY, flag("decoupled_weight_decay"), MAXIMIZE]),
    ("asgd", &[LR, number("lambd"), number("alpha"), number("t0"), DECAY, MAXIMIZE]),
    (
        "rprop",
        &[
            LR,
            ("eta_minus", &[NUMBER, INNER]),
            ("eta_plus", &[NUMBER, "finite and above 1", IN_SINGLE]),
            number("step_min"),
            ("step_max", &[NUMBER, "finite and at least step_min, 0.000001"]),
            MAXIMIZE,
        ],
    ),
    ("lion", &[LR, BETA1, BETA2, DECAY, flag("independent_weight_decay"), MAXIMIZE]),
    (
        "lars",
        &[
            LR,
            fraction("momentum"),
            ("dampening", &[NUMBER, FINITE, IN_SINGLE]),
            DECAY,
            flag("nesterov"),
            positive("trust_coefficient"),
            EPS,
            flag("trust_clip"),
            flag("always_adapt"),
            MAXIMIZE,
        ],
    ),
    (
        "lamb",
        &[
            LR,
            BETA1,
            BETA2,
            EPS,
            DECAY,
            flag("grad_averaging"),
            flag("bias_correction"),
            flag("always_adapt"),
            flag("trust_clip"),
            MAXIMIZE,
        ],
    ),
    ("novograd", &[LR, BETA1, BETA2, EPS, DECAY, flag("grad_averaging"), MAXIMIZE]),
    (
        "ademamix",
        &[LR, BETA1, BETA2, fraction("beta3"), number("alpha"), number("t_alpha"), number("t_beta3"), EPS, DECAY, MAXIMIZE],
    ),
    ("adan", &[LR, BETA1, BETA2, fraction("beta3"), EPS, DECAY, flag("no_prox"), MAXIMIZE]),
    (
        "schedulefree",
        &[
            LR,
            ("beta1", &[NUMBER, INNER]),
            BETA2,
            EPS,
            DECAY,
            ("warmup_steps", &[NUMBER, STEPS]),
            ("r", &[NUMBER, POWER]),
            ("weight_lr_power", &[NUMBER, POWER]),
            MAXIMIZE,
        ],
    ),
    (
        "adafactor",
        &[
            LR,
            ("beta2_decay", &[NUMBER, "finite and at most 0"]),
            number("eps1"),
            number("eps2"),
            ("d", &[NUMBER, AT_LEAST_1]),
            DECAY,
            MAXIMIZE,
        ],
    ),
    (
        "muon",
        &[
            LR,
            DECAY,
            fraction("momentum"),
            flag("nesterov"),
            ("ns_a", &[NUMBER, FINITE, IN_SINGLE]),
            ("ns_b", &[NUMBER, FINITE, IN_SINGLE]),
            ("ns_c", &[NUMBER, FINITE, IN_SINGLE]),
            EPS,
            ("ns_steps", &[WHOLE, "at most 100"]),
            ("adjust_lr", &[ADJUST_LR]),
            MAXIMIZE,
        ],
    ),
];

/// Every schedule, its required settings, and its other settings. A setting whose meaning depends on another one has several
/// lines.
const SCHEDULES: &[(&str, &str, &[Setting])] = &[
    ("constant", "", &[VALUE, not_negative("factor"), whole("steps"), WARMUP]),
    ("step", "steps=5", &[some("steps"), FROM, ("gamma", &[NUMBER, AT_MOST_1]), WARMUP]),
    ("multi_step", "milestones=3,7", &[("milestones", &[LIST]), FROM, positive("gamma"), WARMUP]),
    ("piecewise", "values=1,2 boundaries=3", &[("values", &[LIST]), ("boundaries", &[LIST]), WARMUP]),
    ("linear", "steps=5", &[whole("steps"), VALUE, not_negative("start_factor"), not_negative("end_factor"), WARMUP]),
    (
        "polynomial",
        "steps=5",
        &[whole("steps"), FROM, not_negative("to"), positive("power"), whole("begin"), flag("cycle"), WARMUP],
    ),
    ("polynomial", "steps=5 cycle=true", &[("steps", &["at least 1 with cycle"])]),
    (
        "exponential",
        "gamma=0.5",
        &[
            positive("gamma"),
            FROM,
            some("steps"),
            whole("begin"),
            flag("staircase"),
            not_negative("to"),
            ("to", &["at least 0 and at most from, 1, since gamma is at most 1"]),
            WARMUP,
        ],
    ),
    ("exponential", "gamma=1.5 to=2", &[("to", &["finite and at least from, 1, since gamma is above 1"])]),
    ("inverse_time", "gamma=0.5", &[positive("gamma"), FROM, some("steps"), flag("staircase"), WARMUP]),
    ("cosine", "steps=5", &[some("steps"), FROM, not_negative("to"), positive("power"), flag("rises"), WARMUP]),
    (
        "cosine_restarts",
        "steps=5",
        &[some("steps"), FROM, not_negative("to"), ("growth", &[NUMBER, AT_LEAST_1]), ("shrink", &[NUMBER, AT_MOST_1]), WARMUP],
    ),
    (
        "cyclic",
        "",
        &[
            FROM,
            not_negative("peak"),
            some("up"),
            ("down", &["a whole number or none"]),
            ("mode", &["triangular, triangular2 or exp_range"]),
            ("gamma", &[NUMBER, "1 unless mode is exp_range"]),
            WARMUP,
        ],
    ),
    ("cyclic", "mode=exp_range", &[("gamma", &[NUMBER, AT_MOST_1])]),
    (
        "one_cycle",
        "steps=50",
        &[
            some("steps"),
            PEAK,
            ("pct_start", &[NUMBER, AT_MOST_1]),
            positive("div"),
            positive("final_div"),
            ("shape", &["cosine, linear or one_minus_sqrt"]),
            flag("three_phase"),
            WARMUP,
        ],
    ),
    ("one_cycle", "steps=50 three_phase=true", &[("pct_start", &["above 0 and at most 0.5, since there are three phases"])]),
    ("noam", "", &[not_negative("factor"), some("model_size"), some("warmup")]),
    ("inverse_sqrt", "", &[FROM, some("timescale"), WARMUP]),
    (
        "wsd",
        "decay=5",
        &[some("decay"), PEAK, WARMUP, whole("stable"), not_negative("to"), ("shape", &["cosine, linear or one_minus_sqrt"])],
    ),
    // Only where there is a warm-up.
    ("constant", "warmup=3", &[not_negative("warmup_start")]),
];

/// Settings as they are written on a command line.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().map(|setting| setting.split_once('=').expect("name=value"))
}

fn configured(name: &str, settings: &str) -> Result<Box<dyn AnyRule>> {
    let mut rule = rule_by_name(name)?;
    pairs(settings).try_for_each(|(key, value)| set(&mut *rule, key, value))?;
    Ok(rule)
}

/// Tries all values of a setting's ranges with `make`: each value outside has to be refused with its message, and each value
/// inside accepted.
fn try_all((name, words): &Setting, what: &str, make: impl Fn(&str) -> Result<()>) {
    for words in *words {
        let (_, bad, good) = RANGES.iter().find(|(known, ..)| known == words).expect("a known range");
        for value in *bad {
            let message = format!("{name} = {value} is out of range: {words}");
            assert_error(make(value), &message);
        }
        for value in *good {
            make(value).unwrap_or_else(|error| panic!("{what}, {name} = {value}: {error}"));
        }
    }
}

#[test]
fn settings_of_rules_are_refused_outside_their_range_and_taken_at_its_ends() {
    for (rule, settings) in RULES {
        for setting in *settings {
            try_all(setting, rule, |value| {
                let mut tried = configured(rule, "")?;
                set(&mut *tried, setting.0, value)?;
                let checked = tried.check();
                // The optimizer has the same error.
                assert_eq!(optimizer(Recipe::new(tried)).err(), checked.clone().err());
                checked
            });
        }
    }
}

#[test]
fn settings_of_schedules_are_refused_outside_their_range_and_taken_at_its_ends() {
    for (schedule, base, settings) in SCHEDULES {
        for setting in *settings {
            try_all(setting, schedule, |value| {
                let mut given: Vec<(&str, &str)> = pairs(base).filter(|(name, _)| *name != setting.0).collect();
                given.push((setting.0, value));
                factor_by_name(schedule, &given).map(|_| ())
            });
        }
    }
}

#[test]
fn every_setting_of_every_rule_is_tried() {
    let known: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
    let all = rules();
    assert_eq!(
        all.iter().map(|rule| rule.name()).collect::<Vec<_>>(),
        known,
        "RULES of this file has a line for each of registry!"
    );
    for (mut rule, (name, tried)) in all.into_iter().zip(RULES) {
        let settings: Vec<&str> = rule.settings().iter().map(|(name, _)| *name).collect();
        assert_eq!(settings, tried.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn every_setting_of_every_schedule_is_tried() {
    for listing in factors() {
        for (setting, _) in &listing.settings {
            let tries = |(name, _, settings): &&(&str, &str, &[Setting])| {
                // The warm-up before a schedule is the same for all.
                (*name == listing.name || *setting == "warmup_start") && settings.iter().any(|(name, _)| name == setting)
            };
            assert!(SCHEDULES.iter().find(tries).is_some(), "{setting} of {} is not tried", listing.name);
        }
    }
}

/// Settings whose range depends on another setting, and lists.
#[test]
fn settings_that_do_not_fit_each_other_are_refused() {
    let text = "is out of range: momentum above 0 and dampening 0";
    for (rule, settings, message) in [
        ("sgd", "nesterov=true", format!("nesterov = true with momentum 0 and dampening 0 {text}")),
        (
            "sgd",
            "nesterov=true momentum=0.9 dampening=0.5",
            format!("nesterov = true with momentum 0.9 and dampening 0.5 {text}"),
        ),
        ("lars", "nesterov=true", format!("nesterov = true with momentum 0 and dampening 0 {text}")),
        (
            "lars",
            "nesterov=true momentum=0.9 dampening=-0.5",
            format!("nesterov = true with momentum 0.9 and dampening -0.5 {text}"),
        ),
        ("rprop", "step_min=60", "step_max = 50 is out of range: finite and at least step_min, 60".into()),
    ] {
        assert_error(configured(rule, settings).and_then(|rule| rule.check()), &message);
    }
    for (schedule, settings, message) in [
        ("piecewise", "values=0.1,-1 boundaries=3", "values[1] = -1 is out of range: finite and at least 0"),
        ("piecewise", "values=0.1,NaN boundaries=3", "values[1] = NaN is out of range: finite and at least 0"),
        ("piecewise", "values=1,2,3 boundaries=5", "values: 3 found, 2 expected"),
        ("piecewise", "values=1,2,3 boundaries=5,2", "boundaries = [5, 2] is out of range: each larger than the one before"),
        ("multi_step", "", "multi_step needs milestones, for example milestones=300,600"),
        ("multi_step", "milestones=", "milestones is empty"),
        ("cosine", "steps=5 warmup_start=0.5", "warmup_start = 0.5 is out of range: 0 without a warmup"),
        ("cosine", "steps=5 warmup=0 warmup_start=1", "warmup_start = 1 is out of range: 0 without a warmup"),
    ] {
        assert_error(factor_by_name(schedule, &pairs(settings).collect::<Vec<_>>()), message);
    }
}

#[test]
fn what_is_recorded_into_a_plan_follows_no_schedule() {
    let optimizer = |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[2, 2])]);
    for name in ["ns_a", "eps", "ns_steps", "adjust_lr", "nesterov"] {
        let recipe = Recipe::new(Muon::default()).scale(name, 0.5);
        assert_error(optimizer(recipe), &format!("a scale of {name} cannot be combined with muon: {name} is no number"));
    }
    optimizer(Recipe::new(Muon::default()).scale("lr", 0.5)).expect("an optimizer");
}

#[test]
fn words_and_whole_numbers_are_read_and_written() {
    let mut muon = Muon::default();
    for (name, value) in [("ns_steps", "7"), ("adjust_lr", "match_rms_adamw"), ("eps", "1e-5"), ("ns_b", "-4.5")] {
        set(&mut muon, name, value).expect("a setting");
        let written = AnyRule::settings(&mut muon)
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mut setting)| setting.text().write());
        assert_eq!(written.as_deref(), Some(value), "{name}");
    }
    let ns_coefficients = (3.4445, -4.5, 2.0315);
    let expected = Muon { ns_steps: 7, adjust_lr: AdjustLr::MatchRmsAdamW, eps: 1e-5, ns_coefficients, ..Default::default() };
    assert_eq!(muon, expected);
}

#[test]
fn the_bad_setting_of_a_later_lane_or_group_is_found() {
    let good = || Sgd::default();
    let bad = || Sgd { lr: -1.0, ..Default::default() };
    let message = "lr = -1 is out of range: finite and at least 0";
    assert_error(optimizer(Recipe::population([good(), good(), bad()])), message);
    assert_error(optimizer(Recipe::new(good()).group("all", |_| true, bad())), message);
}

#[test]
fn a_text_that_is_no_value_is_refused() {
    let mut adam = Adam::default();
    assert_error(set(&mut adam, "lr", "fast"), "lr = fast is out of range: a number");
    assert_error(set(&mut adam, "amsgrad", "1"), "amsgrad = 1 is out of range: true or false");
    assert_eq!(adam, Adam::default());
}

/// Settings that are each in their range, but whose combination in a step is not: multiplied by a gradient of 0 it would be
/// NaN.
#[test]
fn numbers_of_a_step_beyond_single_precision_are_refused() {
    let adam = |lr, beta1| Adam { lr, betas: (beta1, 0.5), ..Default::default() };
    let message = |name: &str, value: &str| format!("{name} of step 1 = {value} is out of range: {IN_SINGLE}");
    let large = Recipe::new(Sgd { lr: 1e20, ..Default::default() });
    assert_error(optimizer(large.weight_decay(Decay::Decoupled(1e20))), &message("decay", "-1e40"));
    assert_error(optimizer(Recipe::new(adam(3e38, 0.9375))), &message("step_size", "4.8e39"));
    assert_error(
        optimizer(Recipe::new(Sgd::default()).weight_decay(Decay::Coupled(1e39))),
        &format!("weight_decay = 1e39 is out of range: {UP_TO_SINGLE}"),
    );
    let mut later = optimizer(Recipe::new(adam(1e30, 0.0))).expect("an optimizer");
    assert_error(later.set("default", "lr", 1e39), &format!("lr = 1e39 is out of range: {UP_TO_SINGLE}"));
    // A schedule is looked at step by step.
    let rising = factor_by_name("constant", &[("value", "1e10"), ("factor", "0"), ("steps", "1")]).expect("a schedule");
    let recipe = Recipe::new(Sgd { lr: 1e28, ..Default::default() }).weight_decay(Decay::Decoupled(1e8));
    let mut rises = optimizer(recipe.scale("lr", rising)).expect("an optimizer");
    rises.step().expect("a rate of 0");
    let rows = rises.step().expect_err("a decay of 1e46").to_string();
    assert_eq!(rows, format!("decay of step 2 = -1e46 is out of range: {IN_SINGLE}"));
}

/// An infinite bound only measures the norm: a step has the bits of a step without a clip.
#[test]
fn an_infinite_bound_of_the_norm_only_measures() {
    for engine in crate::common::engines::all() {
        for kind in [NormKind::L2, NormKind::L1, NormKind::Max] {
            let new = |recipe: Recipe| Optimizer::new(&engine, recipe, &[("x", &[3])]).expect("an optimizer");
            let sgd = || Recipe::new(Sgd { lr: 0.1, ..Default::default() });
            let mut measuring = new(sgd().clip(Clip::Norm { max: f64::INFINITY, kind }));
            let mut plain = new(sgd());
            for (grads, norm) in [([2.0, -3.0, 6.0], [7.0, 11.0, 6.0]), ([0.0, 1e15, 0.0], [1e15; 3])] {
                for optimizer in [&mut measuring, &mut plain] {
                    optimizer.set_grads("x", &grads).expect("gradients");
                    optimizer.step().expect("a step");
                }
                assert_eq!(measuring.params("x"), plain.params("x"), "{}, {kind:?}", engine.name);
                let report = measuring.report().expect("a report");
                assert_eq!((report.coefficient, report.clipped, report.skipped), (1.0, 0, 0), "{}, {kind:?}", engine.name);
                let expected = norm[match kind {
                    NormKind::L2 => 0,
                    NormKind::L1 => 1,
                    _ => 2,
                }];
                assert!((report.norm - expected).abs() <= 1e-6 * expected, "{}, {kind:?}: {}", engine.name, report.norm);
            }
        }
    }
    let scheduled = Recipe::new(Sgd::default()).clip_norm(f64::INFINITY).scale("clip", 0.5);
    assert_error(
        optimizer(scheduled),
        "a scale of clip cannot be combined with a bound of infinity: it only measures the norm",
    );
    for clip in [Clip::Value(f64::INFINITY), Clip::Tensor { max: f64::INFINITY, kind: NormKind::L2 }] {
        assert!(optimizer(Recipe::new(Sgd::default()).clip(clip)).is_err());
    }
}

/// Modifiers of a recipe, and their messages.
#[test]
fn bad_settings_of_a_recipe_are_named_with_their_range() {
    let plain = || Recipe::new(Sgd::default());
    let clip = |kind| move |max| plain().clip(Clip::Norm { max, kind });
    let scale = |rule: LossScale| plain().loss_scale(rule);
    let standard = LossScale::default();
    /// A field, a recipe with a value of it, the refused values, and the allowed values.
    type Case<'a> = (&'a str, &'a dyn Fn(f64) -> Recipe, &'a [(&'a str, &'a str)]);
    let not_positive = [("0", "finite and above 0"), ("-1", "finite and above 0")];
    let not_finite = [("NaN", "finite and above 0"), ("inf", "finite and above 0"), ("-inf", "finite and above 0")];
    let single = "from 1.2e-38 to 3.4e38, the range of single precision";
    let not_single = [("1e-39", single), ("1e39", single)];
    let positive = [&not_positive[..], &not_finite, &not_single].concat();
    let bound: Vec<_> = positive.iter().copied().filter(|(value, _)| *value != "inf").collect();
    let not_negative = ["-1", "-1e-9", "NaN", "inf", "-inf"].map(|value| (value, "finite and at least 0"));
    let not_negative = [&not_negative[..], &[("1e39", UP_TO_SINGLE)]].concat();
    let growth = ["1", "0", "-2", "NaN", "inf", "-inf"].map(|value| (value, "finite and above 1"));
    let backoff = ["1", "0", "-0.5", "2", "NaN", "inf", "-inf"].map(|value| (value, "above 0 and below 1"));
    let table: [Case<'_>; 10] = [
        ("clip_norm", &|max| plain().clip_norm(max), &bound),
        ("clip_norm", &clip(NormKind::L2), &bound),
        ("clip_norm", &clip(NormKind::L1), &bound),
        ("clip_norm", &clip(NormKind::Max), &bound),
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
            let scale = LossScale { init: end, growth, backoff, min: end, interval: 1 };
            optimizer(plain().loss_scale(scale).grad_scale(end).clip_norm(end).l1(0.0)).expect("an optimizer");
        }
        optimizer(plain().clip(Clip::Value(end)).l1(end)).expect("an optimizer");
    }
}
