//! Search spaces: their text form, their errors, and their points.

use thalweg::sweep::{Coordinate, Domain, Parameter, Point, SearchSpace};

const SPACE: &str = "lr=log:0.0001:0.1; rule=choice:adam,sgd; momentum=uniform:0.0:0.99 if rule=sgd; layers=int:1:4; \
                     hidden=int:32:256:32; width=logint:8:512; dropout=step:0.0:0.5:0.1; amsgrad=choice:true,false if rule=adam; \
                     scale=choice:0.5,1.0,2.0; eps=fixed:1e-8";

fn space() -> SearchSpace {
    SPACE.parse().expect("a space")
}

#[test]
fn a_space_is_its_text() {
    assert_eq!(space().to_string(), SPACE);
    let lines = SPACE.replace("; ", "\n").replace("0.0001", "1e-4").replace("log:", " log : ");
    assert_eq!(lines.parse::<SearchSpace>(), Ok(space()));
}

#[test]
fn a_space_survives_json() {
    let text = serde_json::to_string(&space()).expect("json");
    assert_eq!(serde_json::from_str::<SearchSpace>(&text).expect("a space"), space());
    let wrong = r#"[{"name": "lr", "domain": {"uniform": {"low": 1, "high": 0}}}]"#;
    let error = serde_json::from_str::<SearchSpace>(wrong).expect_err("reversed bounds").to_string();
    assert!(error.starts_with("low of lr = 1 is out of range: below high = 0"), "{error}");
    assert!(serde_json::from_str::<SearchSpace>(r#"[{"name": "lr", "domain": {"fixed": 1}, "wen": 3}]"#).is_err());
}

#[test]
fn numbers_of_a_choice_are_of_one_kind() {
    let values = |text: &str| match text.parse::<Parameter>().expect("a parameter").domain {
        Domain::Choice(values) => values,
        other => panic!("{other:?}"),
    };
    assert_eq!(values("x=choice:32,64"), [Coordinate::Int(32), Coordinate::Int(64)]);
    assert_eq!(values("x=choice:0,0.5"), [Coordinate::Float(0.0), Coordinate::Float(0.5)]);
    assert_eq!(values("x=choice: a b , c:d"), [Coordinate::from("a b"), Coordinate::from("c:d")]);
}

#[test]
fn invalid_spaces_are_errors() {
    for (text, message) in [
        ("", "the search space is empty"),
        (" ; ", "the search space is empty"),
        ("lr", "parameter = 'lr' is out of range: of the form lr=log:1e-4:1e-1, or … if rule=adam,sgd"),
        ("=int:1:2", "name of a parameter = '' is out of range: letters, digits, '_', '-', '.' and '/'"),
        ("a b=int:1:2", "name of a parameter = 'a b' is out of range: letters, digits, '_', '-', '.' and '/'"),
        ("seed=int:1:2", "name of a parameter = seed is out of range: another: the table of results has such a column"),
        ("x=int:1:2; x=int:1:3", "parameter 'x' is given twice"),
        (
            "x=unform:0:1",
            "unknown domain 'unform'; known: uniform, log, int, logint, step, choice, fixed; did you mean uniform?",
        ),
        ("x=uniform:0", "domain = 'uniform:0' is out of range: of the form uniform:0:0.9"),
        ("x=int:0:1.5", "domain = 'int:0:1.5' is out of range: of the form int:1:4"),
        ("x=uniform:1:0", "low of x = 1 is out of range: below high = 0 (fixed:1 for one value)"),
        ("x=uniform:1:1", "low of x = 1 is out of range: below high = 1 (fixed:1 for one value)"),
        ("x=uniform:nan:1", "low of x = NaN is out of range: finite"),
        ("x=uniform:0:inf", "high of x = inf is out of range: finite"),
        ("x=log:0:1", "low of x = 0 is out of range: finite and above 0, as the scale is logarithmic"),
        ("x=log:-1:1", "low of x = -1 is out of range: finite and above 0, as the scale is logarithmic"),
        ("x=log:2:1", "low of x = 2 is out of range: below high = 1 (fixed:2 for one value)"),
        ("x=logint:0:9", "low of x = 0 is out of range: at least 1, as the scale is logarithmic"),
        ("x=logint:9:1", "low of x = 9 is out of range: below high = 1 (fixed:9 for one value)"),
        ("x=int:4:1", "low of x = 4 is out of range: below high = 1 (fixed:4 for one value)"),
        ("x=int:0:9007199254740993", "high of x = 9007199254740993 is out of range: from -2^53 to 2^53"),
        ("x=int:1:4:0", "step of x = 0 is out of range: at least 1"),
        ("x=int:1:4:2", "high of x = 4 is out of range: whole steps from low: 3 or 5"),
        ("x=step:0:1:0", "step of x = 0 is out of range: finite and above 0"),
        ("x=step:0:0.5:0.15", "high of x = 0.5 is out of range: whole steps from low: 0.44999999999999996 or 0.6"),
        ("x=step:0:1:3", "high of x = 1 is out of range: whole steps from low: 0 or 3"),
        ("x=choice:", "the choice of x is empty"),
        ("x=choice:a,b,a", "choice of x 'a' is given twice"),
        ("x=choice:1,a", "choice of x = a is out of range: a whole number, as 1 is"),
        ("x=int:1:2 if rul=adam; rule=choice:adam,sgd", "unknown parameter 'rul'; known: x, rule; did you mean rule?"),
        (
            "rule=choice:adam,sgd; x=int:1:2 if rule=adan",
            "unknown value of rule in the condition of x 'adan'; known: adam, sgd; did you mean adam?",
        ),
        ("rule=fixed:adam; x=int:1:2 if rule=sgd", "unknown value of rule in the condition of x 'sgd'; known: adam"),
        ("y=int:1:2; x=int:1:2 if y=1", "condition of x = y=int:1:2 is out of range: on a choice or a fixed value"),
        (
            "a=choice:1,2 if b=1; b=choice:1,2 if a=1; c=int:1:2",
            "conditions = a, b is out of range: without a circle: none of these could ever exist",
        ),
    ] {
        assert_eq!(text.parse::<SearchSpace>().expect_err(text).to_string(), message, "{text}");
    }
    let odd = |text: &str| SearchSpace::new([Parameter::new("x", Domain::choice([text, "b"]))]).is_err();
    assert!(["", " a", "a,b", "a;b", "a if b", "a\nb", "1", "1.5", "true"].into_iter().all(odd));
}

#[test]
fn points_are_checked() {
    let whole = Point::new()
        .with("lr", 0.01)
        .with("rule", "sgd")
        .with("momentum", 0)
        .with("layers", 2)
        .with("hidden", 64)
        .with("width", 8)
        .with("dropout", 0.30000000000000004)
        .with("scale", 1.0)
        .with("eps", 1e-8);
    assert_eq!(space().check(&whole), Ok(()));
    // Values are taken as the domain has them: 0 as a float, 0.3 as three steps of 0.1.
    let taken = space().complete(&whole.clone().with("dropout", 0.3), |_| panic!("a value is missing")).expect("a point");
    assert_eq!(
        (taken.get("momentum"), taken.get("dropout")),
        (Some(&Coordinate::Float(0.0)), Some(&Coordinate::Float(0.30000000000000004)))
    );
    let refused = |name: &str, value: Coordinate| {
        let error = space().check(&whole.clone().with(name, value)).expect_err(name);
        error.to_string()
    };
    assert_eq!(refused("lr", 0.2.into()), "lr = 0.2 is out of range: in log:0.0001:0.1");
    assert_eq!(refused("lr", f64::NAN.into()), "lr = NaN is out of range: in log:0.0001:0.1");
    assert_eq!(refused("hidden", 65.into()), "hidden = 65 is out of range: in int:32:256:32");
    assert_eq!(refused("hidden", 64.0.into()), "hidden = 64.0 is out of range: in int:32:256:32");
    assert_eq!(refused("dropout", 0.35.into()), "dropout = 0.35 is out of range: in step:0.0:0.5:0.1");
    assert_eq!(refused("width", 7.into()), "width = 7 is out of range: in logint:8:512");
    assert_eq!(refused("scale", 3.0.into()), "scale = 3.0 is out of range: in choice:0.5,1.0,2.0");
    assert_eq!(refused("eps", 1e-7.into()), "eps = 1e-7 is out of range: in fixed:1e-8");
    assert_eq!(
        refused("amsgrad", true.into()),
        "amsgrad = true is out of range: not set here: amsgrad=choice:true,false if rule=adam"
    );
    assert!(refused("lrr", 0.2.into()).ends_with("; did you mean lr?"));
    let short = Point::new().with("lr", 0.01);
    assert_eq!(space().check(&short).unwrap_err().to_string(), "the point lr=0.01 needs rule, for example sgd");
}

#[test]
fn shares_are_spread_as_the_domain_says() {
    let domain = |text: &str| text.parse::<Domain>().expect("a domain");
    let close = |a: Coordinate, b: f64| assert!((a.as_f64().unwrap() - b).abs() <= 1e-12 * b.abs(), "{a} for {b}");
    close(domain("uniform:-1:3").at(0.25), 0.0);
    close(domain("log:1e-4:1e-2").at(0.5), 1e-3);
    assert_eq!(domain("log:1e-4:1e-2").at(1.0), Coordinate::Float(1e-2));
    assert_eq!([0.0, 0.249, 0.25, 1.0].map(|u| domain("int:1:4").at(u)), [1, 1, 2, 4].map(Coordinate::Int));
    assert_eq!([0.0, 0.99, 1.0].map(|u| domain("int:32:96:32").at(u)), [32, 96, 96].map(Coordinate::Int));
    // From 0.5 to 4.5 a factor of 9: 1 has its half below ln(1.5 / 0.5) / ln 9.
    assert_eq!([0.0, 0.49, 0.51, 1.0].map(|u| domain("logint:1:4").at(u)), [1, 1, 2, 4].map(Coordinate::Int));
    assert_eq!([0.0, 0.3, 1.0].map(|u| domain("step:0:0.3:0.1").at(u)), [0.0, 0.1, 0.3].map(Coordinate::Float));
    assert_eq!([0.0, 0.5, 1.0].map(|u| domain("choice:a,b").at(u)), ["a", "b", "b"].map(Coordinate::from));
    // The share of a value leads back to the value.
    for text in ["uniform:-1:3", "log:1e-4:1e-2", "int:1:4", "int:32:256:32", "logint:8:512", "step:0:0.5:0.1", "choice:a,b,c"]
    {
        let domain = domain(text);
        for u in [0.0, 0.1, 0.37, 0.5, 0.93, 1.0] {
            let value = domain.at(u);
            let again = domain.at(domain.share(&value));
            match (value.as_f64(), again.as_f64()) {
                (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-12 * a.abs().max(1e-6), "{text}: {a} {b}"),
                _ => assert_eq!(value, again),
            }
        }
    }
}
