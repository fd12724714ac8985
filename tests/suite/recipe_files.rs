//! Rules and recipes in files: they are read as they were written, and errors name the nearest known name.

use crate::common::numbers::numbers;
use fastrand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use thalweg::cpu::Cpu;
use thalweg::plan::{Half, LossScale, NormKind, Storage};
use thalweg::schedule::{Cosine, OneCycle, Schedule};
use thalweg::{
    Accumulation, Adam, AdamW, AnyRule, Average, Clip, Decay, Lookahead, Muon, Optimizer, Recipe, Result, Rprop, Select,
    Setting, Sgd, SumOrder, rules,
};

/// A value that is written as JSON or TOML and read again has the same bits.
#[track_caller]
fn survives<T: Serialize + DeserializeOwned + Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("JSON");
    let read: T = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(format!("{read:?}"), format!("{value:?}"), "{json}");
    let toml = toml::to_string(value).expect("TOML");
    let read: T = toml::from_str(&toml).unwrap_or_else(|error| panic!("{error}: {toml}"));
    assert_eq!(format!("{read:?}"), format!("{value:?}"), "{toml}");
}

/// A rule with as many settings changed as its checks allow.
fn random(rule: &dyn AnyRule, rng: &mut Rng) -> Box<dyn AnyRule> {
    let mut rule = rule.boxed();
    let count = rule.settings().len();
    for index in 0..count {
        let mut tried = rule.clone();
        match &mut tried.settings()[index].1 {
            Setting::Number(number) => **number = rng.f64() * rng.choice([1.0, 1e-8, 10.0]).expect("a factor"),
            Setting::Flag(flag) => **flag = rng.bool(),
            Setting::Fixed(value) => {
                let words = ["3", "0.125", "true", "spectral_unclamped", "match_rms_adamw"];
                let _ = value.read(rng.choice(words).expect("a word"));
            }
        }
        if tried.check().is_ok() {
            rule = tried;
        }
    }
    rule
}

#[test]
fn every_rule_survives_with_any_settings() {
    let mut rng = Rng::with_seed(1);
    for rule in rules() {
        survives(&rule);
        let changed = (0..30).map(|_| random(&*rule, &mut rng)).filter(|random| format!("{random:?}") != format!("{rule:?}"));
        let changed = changed.inspect(|random| survives(random)).count();
        assert!(changed > 20, "{}: {changed}", rule.name());
    }
    let adam = Adam { betas: (0.85, 0.95), amsgrad: true, ..Default::default() };
    survives(&adam);
    assert_eq!(toml::from_str::<Adam>("beta1 = 0.85\nbeta2 = 0.95\namsgrad = true").expect("settings"), adam);
    assert_eq!(serde_json::from_str::<Rprop>("{}").expect("no settings"), Rprop::default());
    survives(&Muon { ns_steps: 7, ..Default::default() });
}

/// Recipes with one modifier each, with random numbers, and some with all modifiers that can be combined.
fn recipes(rng: &mut Rng) -> Vec<Recipe> {
    let mut number = || rng.f64() + 1e-3;
    let rule = || Recipe::new(Sgd { lr: 0.1, ..Default::default() });
    let one = Schedule::from(OneCycle::new(1.0, 9));
    let mut recipes = vec![
        rule(),
        rule().clip_norm(number()),
        rule().clip_norm(f64::INFINITY),
        rule().clip(Clip::Norm { max: number(), kind: NormKind::L1 }),
        rule().clip(Clip::Value(number())),
        rule().clip(Clip::Tensor { max: number(), kind: NormKind::Max }),
        rule().clip(Clip::Normalise(NormKind::L2)),
        rule().skip_bad(),
        rule().skip_bad().max_bad_steps(7),
        rule().grad_scale(number()),
        rule().loss_scale(LossScale { init: number(), min: number(), interval: 3, ..Default::default() }),
        rule().l1(number()),
        rule().weight_decay(Decay::Coupled(number())),
        rule().weight_decay(Decay::Decoupled(number())),
        rule().weight_decay(Decay::Independent(number() / 2.0)),
        rule().average(Average::Ema { decay: number() / 2.0 }),
        rule().average(Average::Swa { start: 3, every: 2 }),
        rule().lookahead(Lookahead { steps: 3, alpha: number() / 2.0 }),
        rule().accumulate(Accumulation { mean: false, drop_bad: true, ..Default::default() }),
        rule().accumulate(Accumulation { order: SumOrder::Tree { micro_batches: 8 }, ..Default::default() }),
        rule().sam(number()),
        rule().half_copy(Half::F16),
        rule().half_copy(Half::Bf16),
        rule().state(Storage::Bf16),
        rule().zero_grads(),
        rule().cautious(),
        rule().centralise(),
        rule().inspect(),
        rule().schedule("lr", one.clone().warmup(3, number())),
        rule().scale("lr", number()).scale_group("default", "weight_decay", one.clone()),
        rule().clip_norm(2.0).clip_norm_of(["default", "biases"], number()).clip_norm_of(["vectors"], number()),
        rule().clip_norm_of(["default"], f64::INFINITY),
        rule().clip_norm([number(), f64::INFINITY]).clip_norm_of(["biases"], [number(), f64::INFINITY]),
        rule().clip([Clip::Value(number()), Clip::Value(2.0)]).l1([number(), 0.0]).grad_scale([1.0, 2.0]),
        rule().weight_decay([Decay::Coupled(number()), Decay::Decoupled(0.5)]).average([Average::Ema { decay: 0.5 }; 2]),
        rule().loss_scale([LossScale::default(); 2]).lookahead([Lookahead::default(); 2]).sam([number(), 0.5]),
        rule().schedule("lr", [number(), 0.1]).scale("momentum", [one, number().into()]),
        Recipe::population([0.1, 0.2, number()].map(|lr| AdamW { lr, ..Default::default() })),
        rule()
            .group_of("biases", Select::Named("*.bias".into()), Sgd { lr: number(), ..Default::default() })
            .group_of("vectors", Select::Below(2), Sgd::default())
            .group_of("matrices", Select::AtLeast(2), Sgd::default())
            .schedule_group("biases", "lr", Cosine::new(number(), 9))
            .clip_norm(number())
            .average(Average::Ema { decay: 0.5 })
            .lookahead(Lookahead::default())
            .half_copy(Half::F16)
            .zero_grads()
            .inspect(),
    ];
    recipes.extend(crate::schedules::all().into_iter().map(|schedule| rule().scale("lr", schedule)));
    recipes
}

#[test]
fn every_modifier_and_schedule_survives() {
    let mut rng = Rng::with_seed(2);
    for _ in 0..5 {
        recipes(&mut rng).iter().for_each(survives);
    }
}

/// Every key that is written can be read, and a key that is left out has the default of a new recipe.
#[test]
fn a_recipe_is_read_as_people_write_it() {
    let text = r#"
        clip = { norm = { max = 1.0 } }
        skip_bad = true
        weight_decay = { decoupled = 0.1 }

        [[groups]]
        rules = [{ rule = "adam", lr = 3e-4, beta2 = 0.95 }, { rule = "adam", lr = 1e-3 }]

        [[groups]]
        name = "biases"
        tensors = { named = "*.bias" }
        rules = [{ rule = "adam" }]

        [[schedules]]
        setting = "lr"
        scale.warmup = { start = 0, steps = 10, then.cosine = { from = 1, steps = 90 } }
    "#;
    let found: Recipe = toml::from_str(text).expect("a recipe");
    let adam = |lr, beta2| Adam { lr, betas: (0.9, beta2), ..Default::default() };
    let expected = Recipe::population([adam(3e-4, 0.95), adam(1e-3, 0.999)])
        .group_of("biases", Select::Named("*.bias".into()), Adam::default())
        .clip_norm(1.0)
        .skip_bad()
        .weight_decay(Decay::Decoupled(0.1))
        .scale("lr", Schedule::from(Cosine::new(1.0, 90)).warmup(10, 0.0));
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

#[test]
fn a_recipe_from_a_file_steps_with_the_same_bits() -> Result<()> {
    let recipe = Recipe::new(AdamW { lr: 0.1 / 3.0, ..Default::default() })
        .group_of("biases", Select::Below(2), AdamW { weight_decay: 0.0, ..Default::default() })
        .clip_norm(0.7)
        .scale("lr", Cosine::new(1.0, 30));
    let read: Recipe = toml::from_str(&toml::to_string(&recipe).expect("TOML")).expect("a recipe");
    let run = |recipe: Recipe| {
        let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("weight", &[4, 5]), ("bias", &[4])])?;
        for (name, len) in [("weight", 20), ("bias", 4)] {
            optimizer.set_params(name, &numbers(1, len))?;
        }
        for t in 0..20 {
            optimizer.set_grads("weight", &numbers(2 + t, 20))?;
            optimizer.set_grads("bias", &numbers(90 + t, 4))?;
            optimizer.step()?;
        }
        Ok([optimizer.params("weight")?, optimizer.params("bias")?])
    };
    assert_eq!(run(read)?, run(recipe)?);
    Ok(())
}

#[test]
fn unknown_keys_of_a_file_are_errors_with_the_nearest_name() {
    let with = |more: &str| format!("{more}\n[[groups]]\nrules = [{{ rule = \"sgd\" }}]\n");
    let cases = [
        (with("clipp = { value = 1.0 }"), "unknown setting of a recipe 'clipp'", "did you mean clip?"),
        (with("clip = { norms = { max = 1.0 } }"), "unknown variant `norms`", "did you mean norm?"),
        (with("clip = { norm = { mox = 1.0 } }"), "mox", "did you mean max?"),
        (with("lookahead = { step = 5 }"), "unknown field `step`", "did you mean steps?"),
        (with("lookahead = [{ step = 5 }, {}]"), "unknown field `step`", "did you mean steps?"),
        (with("half_copy = \"bf61\""), "unknown variant `bf61`", "did you mean bf16?"),
        ("groups = [{ rules = [{ rule = \"admw\" }] }]".into(), "unknown rule 'admw'", "did you mean adamw?"),
        (
            "groups = [{ rules = [{ rule = \"sgd\", momentun = 0.9 }] }]".into(),
            "unknown setting 'momentun'",
            "did you mean momentum?",
        ),
        ("groups = [{ rules = [{ rule = \"sgd\", lr = -1 }] }]".into(), "lr = -1 is out of range", "finite and at least 0"),
        ("groups = [{ rules = [{ rule = \"sgd\", lr = true }] }]".into(), "lr = true is out of range", "a number"),
        ("groups = [{ rules = [{ rule = \"sgd\", maximize = 1 }] }]".into(), "maximize = 1 is out of range", "true or false"),
        ("groups = [{ rules = [{ lr = 1 }] }]".into(), "a rule needs rule", "rule = \"adamw\""),
        ("groups = [{ rule = [] }]".into(), "unknown field `rule`", "did you mean rules?"),
        ("skip_bad = true".into(), "a recipe needs groups", "rule = \"adamw\""),
        (
            with("schedules = [{ setting = \"lr\", scale.cosine = { setps = 3 } }]"),
            "unknown field `setps`",
            "did you mean steps?",
        ),
        (with("schedules = [{ setting = \"lr\", scale.cosin = {} }]"), "unknown variant `cosin`", "did you mean cosine?"),
        (with("schedules = [{ setting = \"lr\" }]"), "the schedule of lr needs set or scale", "constant"),
        (
            with("schedules = [{ setting = \"lr\", set.constant = {}, scale.constant = {} }]"),
            "set of lr cannot be combined with scale",
            "one schedule",
        ),
    ];
    for (text, wrong, hint) in cases {
        let error = toml::from_str::<Recipe>(&text).expect_err(&text).to_string();
        assert!(error.contains(wrong) && error.contains(hint), "{text}\n{error}");
        let value: serde_json::Value = serde_json::to_value(toml::from_str::<toml::Value>(&text).expect("TOML")).expect("JSON");
        let error = serde_json::from_str::<Recipe>(&value.to_string()).expect_err(&text).to_string();
        assert!(error.contains(wrong) && error.contains(hint), "{value}\n{error}");
    }
    // The example in an error is valid.
    let example = with("schedules = [{ setting = \"lr\", set = { constant = { value = 0.001 } } }]");
    assert!(
        toml::from_str::<Recipe>(&with("schedules = [{ setting = \"lr\" }]"))
            .expect_err("neither")
            .to_string()
            .contains("set = { constant = { value = 0.001 } }")
    );
    toml::from_str::<Recipe>(&example).expect("the example");
    let twice = r#"{"skip_bad": true, "skip_bad": false, "groups": [{"rules": [{"rule": "sgd"}]}]}"#;
    let error = serde_json::from_str::<Recipe>(twice).expect_err("twice").to_string();
    assert!(error.contains("setting of a recipe 'skip_bad' is given twice"), "{error}");
    let twice = r#"{"lr": 0.1, "lr": 0.2}"#;
    let error = serde_json::from_str::<Sgd>(twice).expect_err("twice").to_string();
    assert!(error.contains("setting 'lr' is given twice"), "{error}");
}

#[test]
fn groups_by_a_function_are_not_written() {
    let recipe = Recipe::new(Sgd::default()).group("biases", |tensor| tensor.name.ends_with("bias"), Sgd::default());
    let error = serde_json::to_string(&recipe).expect_err("a function").to_string();
    assert_eq!(error, "the tensors of group 'biases' are told by a function, which no file holds: describe them by data");
}
