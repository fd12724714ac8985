//! `schedules`.

use super::picture::well_formed;
use super::*;

#[test]
fn schedules_are_listed_with_formula_and_settings() {
    let lines = thalweg(&["schedules", "--json"]).json();
    let text = thalweg(&["schedules"]);
    let mut listings = thalweg::schedule::factors();
    listings.push(thalweg::schedule::ReduceLrOnPlateau::factor_listing());
    assert_eq!((text.code, text.err.as_str(), lines.len()), (Some(0), "", listings.len()));
    for (listing, line) in listings.iter().zip(&lines) {
        assert_eq!((&line["name"], &line["formula"]), (&listing.name.into(), &listing.formula.into()));
        assert_eq!(keys(&line["settings"]), listing.settings.iter().map(|(name, _)| *name).collect());
    }
    let step = "step
  formula   from · gamma^⌊t / steps⌋
  settings  steps=… from=1 gamma=0.1 warmup=0 warmup_start=0\n";
    assert!(text.out.contains(&format!("\n\n{step}\n")), "{}", text.out);
    let plateau = "settings  from=1 goal=min factor=0.1 patience=10 threshold=relative:1e-4 cooldown=0 to=0 eps=1e-8\n";
    assert!(text.out.ends_with(plateau), "{}", text.out);
    let step = serde_json::json!({ "steps": null, "from": 1, "gamma": 0.1, "warmup": 0, "warmup_start": 0 });
    assert_eq!(lines[1]["settings"], step);
}

#[test]
fn a_schedules_values_are_printed() {
    let ran = thalweg(&["schedules", "step", "steps=2", "from=8", "gamma=0.5", "--steps", "5"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "0 8\n1 8\n2 4\n3 4\n4 2\n", ""));
    let lines = thalweg(&["schedules", "multi_step", "milestones=1,2", "gamma=0.5", "--steps", "3", "--json"]).json();
    assert_eq!(lines, [(0, 1.0), (1, 0.5), (2, 0.25)].map(|(step, value)| serde_json::json!({ "step": step, "value": value })));
    // The schedule's own steps are the number of values, which is 100 unless given.
    let whole = thalweg(&["schedules", "linear", "start_factor=0", "end_factor=1"]).out;
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!((lines.len(), lines[50], lines[99]), (100, "50 0.5", "99 0.99"));
}

#[test]
fn a_schedule_is_drawn() {
    let temp = TempDir::new().expect("a directory");
    let file = temp.path().join("a.svg");
    let path = file.to_str().expect("UTF-8");
    for steps in ["1", "2", "100000"] {
        let ran = thalweg(&["schedules", "cosine", "--steps", steps, "--plot", path]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""));
        let picture = fs::read_to_string(&file).expect("a picture");
        well_formed(&picture).expect("SVG");
        assert!(picture.contains("cosine") && picture.contains("step") && picture.contains("<polyline"), "{picture}");
        assert!(picture.len() < 50_000, "{}", picture.len());
    }
    let nowhere = temp.path().join("no/a.svg");
    let ran = thalweg(&["schedules", "cosine", "--plot", nowhere.to_str().expect("UTF-8")]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{ran:?}");
    assert!(ran.err.contains("cannot be written"), "{ran:?}");
}
