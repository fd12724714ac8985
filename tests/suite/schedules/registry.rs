//! Schedules by name.

use super::*;

#[track_caller]
fn says(name: &str, settings: &[(&str, &str)], expected: &str) {
    let text = factor_by_name(name, settings).err().map_or("no error".into(), |error| error.to_string());
    assert_eq!(text, expected);
}

/// A value for each setting that has to be given.
fn required(listing: &Listing) -> Vec<(&'static str, &'static str)> {
    let value = |name| match name {
        "milestones" => "5,20",
        "values" => "0.5,0.1",
        "gamma" => "0.5",
        _ => "30",
    };
    let missing = listing.settings.iter().filter(|(_, default)| default.is_none());
    missing.map(|&(name, _)| (name, value(name))).collect()
}

/// What makes a schedule of a name and settings.
type Make = fn(&str, &[(&str, &str)]) -> thalweg::Result<Schedule>;

/// Schedules and factors, each with what makes them.
fn made() -> impl Iterator<Item = (Listing, Make)> {
    let schedules = schedules().into_iter().map(|listing| (listing, schedule_by_name as Make));
    schedules.chain(factors().into_iter().map(|listing| (listing, factor_by_name as Make)))
}

#[test]
fn every_name_makes_a_schedule_from_its_required_settings() -> Result<()> {
    assert_eq!(made().count(), 30);
    for (listing, make) in made() {
        let given = required(&listing);
        assert_eq!(make(listing.name, &given).map(|_| ()), Ok(()), "{}", listing.name);
        assert!(!listing.formula.is_empty());
        for missing in &given {
            let others: Vec<_> = given.iter().filter(|other| other != &missing).copied().collect();
            let error = make(listing.name, &others).expect_err(missing.0);
            let names = matches!(&error, Error::Missing { setting, .. } if setting == missing.0);
            assert!(names, "{} without {missing:?}: {error}", listing.name);
        }
    }
    Ok(())
}

#[test]
fn listed_defaults_are_the_defaults() -> Result<()> {
    for (listing, make) in made() {
        let mut given = required(&listing);
        let short = make(listing.name, &given)?;
        given.extend(listing.settings.iter().filter_map(|(name, default)| Some((*name, default.as_deref()?))));
        assert_eq!(make(listing.name, &given)?, short, "{}", listing.name);
    }
    Ok(())
}

/// A forgotten setting must not lead to training at a rate of 1. So the start value or the peak of a schedule has to be
/// given in every form. Noam is the exception: its factor 1 gives the rates of its paper.
#[test]
fn a_value_is_given_and_a_factor_is_at_most_one() -> Result<()> {
    for (schedule, factor) in schedules().into_iter().zip(factors()) {
        let given = required(&schedule);
        let values: Vec<&str> =
            ["value", "from", "peak"].into_iter().filter(|name| given.iter().any(|(own, _)| own == name)).collect();
        assert_eq!(values.is_empty(), ["noam", "piecewise"].contains(&schedule.name), "{}: {values:?}", schedule.name);
        let of_factor = required(&factor);
        assert!(of_factor.iter().all(|given| !values.contains(&given.0)), "{}", factor.name);
        let made = factor_by_name(factor.name, &of_factor)?;
        let highest = (0..100_000).step_by(7).map(|step| made.value(step)).fold(0.0, f64::max);
        assert!(highest > 0.0 && highest <= 1.0, "{}: {highest}", factor.name);
    }
    let plateau = ReduceLrOnPlateau::from_settings(&[("factor", "0.5")]).expect_err("no value").to_string();
    assert_eq!(plateau, "plateau needs from, for example from=0.001");
    assert_eq!(ReduceLrOnPlateau::factor_from_settings(&[])?, ReduceLrOnPlateau::new(1.0));
    assert_eq!(ReduceLrOnPlateau::listing().settings[0], ("from", None));
    Ok(())
}

/// Name, settings and what they make.
type Case = (&'static str, &'static [(&'static str, &'static str)], Schedule);

#[test]
fn every_setting_arrives() -> Result<()> {
    let cases: [Case; 8] = [
        ("multi_step", &[("milestones", "3, 9"), ("gamma", "0.2")], {
            MultiStep { gamma: 0.2, ..MultiStep::new(1.0, vec![3, 9]) }.into()
        }),
        ("piecewise", &[("values", "0.1,1e-2"), ("boundaries", "7")], {
            Piecewise { boundaries: vec![7], values: vec![0.1, 0.01] }.into()
        }),
        ("cyclic", &[("down", "5"), ("mode", "exp_range"), ("gamma", "0.9"), ("up", "4"), ("from", "0.1"), ("peak", "2")], {
            Cyclic { from: 0.1, peak: 2.0, up: 4, down: Some(5), mode: Mode::ExpRange, gamma: 0.9 }.into()
        }),
        ("cosine", &[("steps", "9"), ("rises", "true"), ("from", "0.5"), ("to", "0.1"), ("power", "2")], {
            Cosine { steps: 9, rises: true, from: 0.5, to: 0.1, power: 2.0 }.into()
        }),
        ("one_cycle", &[("steps", "9"), ("shape", "linear"), ("three_phase", "true"), ("div", "3"), ("final_div", "7")], {
            let cycle = OneCycle { shape: Shape::Linear, three_phase: true, ..OneCycle::new(1.0, 9) };
            OneCycle { div: 3.0, final_div: 7.0, ..cycle }.into()
        }),
        ("wsd", &[("decay", "4"), ("warmup", "2"), ("stable", "3"), ("to", "0.1"), ("shape", "cosine")], {
            Wsd { warmup: 2, stable: 3, to: 0.1, shape: Shape::Cosine, ..Wsd::new(1.0, 4) }.into()
        }),
        ("step", &[("steps", "4"), ("warmup", "2"), ("warmup_start", "0.1")], {
            Schedule::from(Step::new(1.0, 4)).warmup(2, 0.1)
        }),
        ("noam", &[("warmup", "2"), ("model_size", "3"), ("factor", "4")], {
            Noam { warmup: 2, model_size: 3, factor: 4.0 }.into()
        }),
    ];
    for (name, settings, expected) in cases {
        assert_eq!(factor_by_name(name, settings)?, expected);
    }
    Ok(())
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known() {
    says(
        "cos",
        &[],
        "unknown schedule 'cos'; known: constant, step, multi_step, piecewise, linear, polynomial, exponential, inverse_time, \
         cosine, cosine_restarts, cyclic, one_cycle, noam, inverse_sqrt, wsd",
    );
    says("step", &[("T_max", "3")], "unknown setting 'T_max'; known: steps, from, gamma, warmup, warmup_start");
    says("noam", &[("warmup_start", "3")], "unknown setting 'warmup_start'; known: factor, model_size, warmup");
    says("step", &[("steps", "3"), ("steps", "4")], "setting 'steps' is given twice");
    says("step", &[("steps", "3.5")], "steps = 3.5 is out of range: a whole number");
    says("step", &[("from", "fast")], "from = fast is out of range: a number");
    says("cosine", &[("rises", "yes")], "rises = yes is out of range: true or false");
    says("cyclic", &[("down", "half")], "down = half is out of range: a whole number or none");
    says("cyclic", &[("mode", "round")], "mode = round is out of range: triangular, triangular2 or exp_range");
    says("wsd", &[("shape", "round")], "shape = round is out of range: cosine, linear or one_minus_sqrt");
    says("multi_step", &[("milestones", "3;4")], "milestones = 3;4 is out of range: numbers separated by commas");
    says("step", &[], "step needs steps, for example steps=1000");
    says("step", &[("steps", "0")], "steps = 0 is out of range: at least 1");
    says("exponential", &[], "exponential needs gamma, for example gamma=0.99");
    says("piecewise", &[("values", "1,0.1")], "piecewise needs boundaries, for example boundaries=500");
    says("step", &[("steps", "3"), ("from", "NaN")], "from = NaN is out of range: finite and at least 0");
    says(
        "step",
        &[("steps", "3"), ("warmup", "3"), ("warmup_start", "-1")],
        "warmup_start = -1 is out of range: finite and at least 0",
    );
}
