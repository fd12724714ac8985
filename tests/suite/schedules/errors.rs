//! Settings out of range, and their errors.

use super::*;

#[track_caller]
fn says(schedule: impl Into<Schedule>, expected: &str) {
    let text = schedule.into().check().err().map_or("no error".into(), |error| error.to_string());
    assert_eq!(text, expected);
}

/// Sets one field at a time to each of the bad values.
macro_rules! refuse {
    ($base:expr => $($field:ident: $allowed:literal [$($bad:expr),*]),* $(,)?) => {
        let base = $base;
        assert_eq!(Schedule::from(base.clone()).check(), Ok(()));
        $($({
            let mut bad = base.clone();
            bad.$field = $bad;
            let shown = bad.$field.to_string();
            says(bad, &format!(concat!(stringify!($field), " = {} is out of range: ", $allowed), shown));
        })*)*
    };
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

#[test]
fn stairs() {
    refuse!(Constant::new(1.0) =>
        value: "finite and at least 0" [-0.1, NAN, INF], factor: "finite and at least 0" [-0.1, NAN, INF]);
    refuse!(Step::new(1.0, 1) =>
        from: "finite and at least 0" [-0.1, NAN, INF], steps: "at least 1" [0],
        gamma: "above 0 and at most 1" [0.0, -0.5, 1.1, NAN, INF]);
    let multi = MultiStep::new(1.0, vec![3]);
    refuse!(multi.clone() =>
        from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF]);
    says(MultiStep { milestones: Vec::new(), ..multi }, "milestones is empty");
    let piecewise = Piecewise { boundaries: vec![2, 5], values: vec![0.1, 0.2, 0.3] };
    says(
        Piecewise { boundaries: vec![5, 2], ..piecewise.clone() },
        "boundaries = [5, 2] is out of range: each larger than the one before",
    );
    says(
        Piecewise { boundaries: vec![5, 5], ..piecewise.clone() },
        "boundaries = [5, 5] is out of range: each larger than the one before",
    );
    says(Piecewise { boundaries: vec![5], ..piecewise.clone() }, "values: 3 found, 2 expected");
    for bad in [-0.1, NAN, INF] {
        let expected = format!("values[1] = {bad} is out of range: finite and at least 0");
        says(Piecewise { values: vec![0.1, bad, 0.3], ..piecewise.clone() }, &expected);
    }
}

#[test]
fn decays() {
    refuse!(LinearRamp::new(1.0, 1) =>
        value: "finite and at least 0" [-0.1, NAN, INF], start_factor: "finite and at least 0" [-0.1, NAN, INF],
        end_factor: "finite and at least 0" [-0.1, NAN, INF]);
    refuse!(Polynomial { cycle: true, ..Polynomial::new(1.0, 1) } =>
        from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
        steps: "at least 1 with cycle" [0], power: "finite and above 0" [0.0, -1.0, NAN, INF]);
    let exponential = Exponential::new(1.0, 0.5);
    refuse!(exponential.clone() =>
        from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF],
        steps: "at least 1" [0], to: "finite and at least 0" [-0.1, NAN, INF],
        to: "at least 0 and at most from, 1, since gamma is at most 1" [1.1]);
    refuse!(Exponential { gamma: 1.5, to: 2.0, ..exponential } =>
        to: "finite and at least from, 1, since gamma is above 1" [0.0, 0.9]);
    refuse!(InverseTime::new(1.0, 0.5) =>
        from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF],
        steps: "at least 1" [0]);
}

#[test]
fn cosines_and_cycles() {
    refuse!(Cosine::new(1.0, 1) =>
        from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
        steps: "at least 1" [0], power: "finite and above 0" [0.0, -1.0, NAN, INF]);
    refuse!(CosineRestarts::new(1.0, 1) =>
        from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
        steps: "at least 1" [0], growth: "finite and at least 1" [0.9, NAN, INF],
        shrink: "above 0 and at most 1" [0.0, -0.5, 1.1, NAN]);
    refuse!(Cyclic::new(0.0, 1.0) =>
        from: "finite and at least 0" [-0.1, NAN, INF], peak: "finite and at least 0" [-0.1, NAN, INF],
        up: "at least 1" [0], gamma: "1 unless mode is exp_range" [0.9, NAN]);
    refuse!(Cyclic { mode: Mode::ExpRange, ..Cyclic::new(0.0, 1.0) } => gamma: "above 0 and at most 1" [0.0, 1.1, NAN]);
    let cycle = OneCycle::new(1.0, 1);
    refuse!(cycle.clone() =>
        peak: "finite and at least 0" [-0.1, NAN, INF], steps: "at least 1" [0],
        pct_start: "above 0 and at most 1" [0.0, -0.1, 1.1, NAN],
        div: "finite and above 0" [0.0, -1.0, NAN, INF], final_div: "finite and above 0" [0.0, -1.0, NAN, INF]);
    refuse!(OneCycle { three_phase: true, ..cycle } =>
        pct_start: "above 0 and at most 0.5, since there are three phases" [0.0, 0.6, NAN]);
}

#[test]
fn papers() {
    refuse!(Noam::default() =>
        factor: "finite and at least 0" [-0.1, NAN, INF], model_size: "at least 1" [0], warmup: "at least 1" [0]);
    refuse!(InverseSqrt::new(1.0) => from: "finite and at least 0" [-0.1, NAN, INF], timescale: "at least 1" [0]);
    refuse!(Wsd::new(1.0, 1) =>
        peak: "finite and at least 0" [-0.1, NAN, INF], decay: "at least 1" [0],
        to: "finite and at least 0" [-0.1, NAN, INF]);
}

#[test]
fn compositions_name_the_path() {
    let one = || Schedule::from(1.0);
    let bad = || Schedule::from(Step::new(1.0, 0));
    says(one().warmup(3, -1.0), "start = -1 is out of range: finite and at least 0");
    says(one().scale(NAN), "factor = NaN is out of range: finite and at least 0");
    says(one().clamp(-1.0, 1.0), "min = -1 is out of range: finite and at least 0");
    says(one().clamp(0.5, 0.4), "max = 0.4 is out of range: finite and at least min, 0.5");
    says(one().clamp(0.5, INF), "max = inf is out of range: finite and at least min, 0.5");
    says(Product(Vec::new()), "parts is empty");
    says(Sequence { parts: Vec::new(), milestones: Vec::new() }, "parts is empty");
    says(Sequence { parts: vec![one(), one()], milestones: vec![] }, "milestones: 0 found, 1 expected");
    says(
        Sequence { parts: vec![one(), one(), one()], milestones: vec![9, 9] },
        "milestones = [9, 9] is out of range: each larger than the one before",
    );
    says(one().times(bad()), "parts[1].steps = 0 is out of range: at least 1");
    says(bad().warmup(3, 0.0).scale(2.0), "of.then.steps = 0 is out of range: at least 1");
    says(bad().clamp(0.0, 1.0), "of.steps = 0 is out of range: at least 1");
    let parts = vec![one(), Piecewise::default().into()];
    says(Sequence { parts: parts.clone(), milestones: vec![9] }, "parts[1].values: 0 found, 1 expected");
    says(one().times(MultiStep::new(1.0, [])), "parts[1].milestones is empty");
}

#[test]
fn values_that_could_overflow_are_refused() {
    says(Schedule::from(1e200).scale(1e200), "bound = inf is out of range: finite");
    says(Schedule::from(1e200).times(1e200), "bound = inf is out of range: finite");
    says(Schedule::from(1e200).times(1e200).scale(1.0), "of.bound = inf is out of range: finite");
    says(LinearRamp { start_factor: 1e200, ..LinearRamp::new(1e200, 1) }, "bound = inf is out of range: finite");
    says(OneCycle { div: 1e-30, ..OneCycle::new(1e300, 1) }, "bound = inf is out of range: finite");
}

#[test]
fn plateaus() {
    let text = |settings: ReduceLrOnPlateau| settings.start().err().map_or("no error".into(), |error| error.to_string());
    let with = || ReduceLrOnPlateau::new(1.0);
    for bad in [-0.1, NAN, INF] {
        let expected = |field: &str| format!("{field} = {bad} is out of range: finite and at least 0");
        assert_eq!(text(ReduceLrOnPlateau { from: bad, ..with() }), expected("from"));
        assert_eq!(text(ReduceLrOnPlateau { to: bad, ..with() }), expected("to"));
        assert_eq!(text(ReduceLrOnPlateau { eps: bad, ..with() }), expected("eps"));
        assert_eq!(text(ReduceLrOnPlateau { threshold: Threshold::Absolute(bad), ..with() }), expected("threshold"));
        assert_eq!(text(ReduceLrOnPlateau { threshold: Threshold::Relative(bad), ..with() }), expected("threshold"));
    }
    for bad in [0.0, -0.5, 1.0, NAN] {
        let expected = format!("factor = {bad} is out of range: above 0 and below 1");
        assert_eq!(text(ReduceLrOnPlateau { factor: bad, ..with() }), expected);
    }
}
