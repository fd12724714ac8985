//! `rules`.

use super::*;

#[test]
fn rules_are_listed_with_formula_settings_and_state() {
    let lines = thalweg(&["rules", "--json"]).json();
    let text = thalweg(&["rules"]);
    assert_eq!((text.code, text.err.as_str(), lines.len()), (Some(0), "", thalweg::rules().len()));
    let blocks: Vec<&str> = text.out.split("\n\n").collect();
    assert_eq!(blocks.len(), lines.len());
    for ((mut rule, line), block) in thalweg::rules().into_iter().zip(&lines).zip(blocks) {
        assert_eq!(
            keys(line),
            BTreeSet::from([
                "name",
                "formula",
                "letters",
                "starts",
                "settings",
                "state_bytes",
                "state_bytes_max",
                "state_other",
                "planes"
            ])
        );
        assert_eq!((&line["name"], &line["formula"]), (&rule.name().into(), &rule.formula().into()));
        assert!(block.starts_with(rule.name()) && block.contains(rule.formula()), "{block}");
        assert!(block.contains(&format!("  {} bytes per parameter", line["state_bytes"])), "{block}");
        assert!(block.trim().ends_with(&format!("at most {}", line["state_bytes_max"])), "{block}");
        let settings: Vec<&str> = rule.settings().into_iter().map(|(name, _)| name).collect();
        assert_eq!(keys(&line["settings"]), settings.iter().copied().collect());
        // The listed settings are those that `--set` takes.
        for (name, value) in line["settings"].as_object().expect("an object") {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            thalweg::set(&mut *rule, name, &text).unwrap_or_else(|error| panic!("{error}"));
            assert!(block.contains(&format!(" {name}=")), "{name}: {block}");
        }
    }
    let one = thalweg(&["rules", "adamw"]);
    let block = "adamw
  formula   x = (1 − lr·λ)·x;  m = β₁·m + (1 − β₁)·g;  v = β₂·v + (1 − β₂)·g²;  x −= (lr/c₁)·m / (√v/√c₂ + eps)
  letters   β₁ = beta1, β₂ = beta2, λ = weight_decay
  settings  lr=0.001 beta1=0.9 beta2=0.999 eps=1e-8 weight_decay=0.01 independent_weight_decay=false eps_hat=false amsgrad=false maximize=false
  start     --lr 0.002 (96.7 %) on the digits in 40 epochs
  state     8 bytes per parameter (m, v); per parameter at most 12\n";
    assert_eq!(one.out, block);
    assert_eq!(thalweg(&["rules", "adamw", "--json"]).json()[0]["planes"], serde_json::json!(["m", "v"]));
}

/// The numbers are those of the rules' documentation.
#[test]
fn the_listed_memory_holds_directions_and_numbers_of_tensors() {
    let scratch = "at most 16 per element of the largest set of matrices of one shape";
    let table = [
        ("sgd", 0, 4, None),
        ("rprop", 8, 8, None),
        ("adan", 16, 16, None),
        ("lars", 0, 4, None),
        ("novograd", 4, 4, Some("4 per tensor")),
        ("lamb", 12, 12, None),
        ("adafactor", 4, 8, Some("4·(n + m + 1) per n × m matrix")),
        ("muon", 8, 8, Some(scratch)),
    ];
    for (rule, bytes, most, other) in table {
        let line = &thalweg(&["rules", rule, "--json"]).json()[0];
        let listed = (&line["state_bytes"], &line["state_bytes_max"], line["state_other"].as_str());
        assert_eq!(listed, (&bytes.into(), &most.into(), other), "{rule}");
    }
    let lamb = thalweg(&["rules", "lamb"]).out;
    assert!(lamb.ends_with("  state     12 bytes per parameter (m, v, direction); per parameter at most 12\n"), "{lamb}");
}

/// The printed rates were found with 40 epochs and three seeds (`scripts/starting_rates`). Five epochs show a mistake, with
/// which a rule learns nothing or a tenth.
#[test]
fn every_rule_learns_from_where_it_is_told_to_start() {
    let rules = thalweg(&["rules", "--json"]).json();
    assert_eq!(rules.len(), thalweg::rules().len());
    for rule in rules {
        let name = rule["name"].as_str().expect("a name");
        let starts = rule["starts"].as_array().expect("a list");
        assert!(!starts.is_empty(), "{name} has no line in STARTS of crates/thalweg-cli/src/rules.rs");
        for start in starts {
            assert!(start["digits_percent"].as_f64() >= Some(95.0), "{name}: {start}");
            let arguments: Vec<&str> = start["arguments"].as_str().expect("arguments").split(' ').collect();
            // Whole data sets per step are few steps.
            let epochs = if name == "rprop" { "40" } else { "5" };
            let lines = trained(&[&["--rule", name, "--epochs", epochs], &arguments[..]].concat());
            let accuracy = last_test(&lines).1;
            assert!(accuracy > 0.7, "{name} {start}: {accuracy}");
        }
    }
}
