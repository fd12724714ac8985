//! `inspect` and `diff`.

use super::*;
use thalweg::checkpoint::{Folder, Tensors, write};
use thalweg::cpu::Cpu;
use thalweg::{AdamW, Optimizer, Recipe};

/// An optimizer after some steps.
fn saved(steps: usize) -> Tensors {
    let recipe = Recipe::new(AdamW { lr: 0.25, ..Default::default() });
    let tensors: [(&str, &[usize]); 2] = [("w", &[2, 3]), ("b", &[2])];
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors).expect("an optimizer");
    optimizer.set_params("w", &[3.0, 0.0, 0.0, 0.0, -4.0, 0.0]).expect("fits");
    optimizer.set_grads("b", &[1.0, -1.0]).expect("fits");
    optimizer.steps(steps).expect("steps");
    optimizer.tensors().expect("tensors")
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn a_checkpoint_is_shown_with_norms_settings_and_counters() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(&folder, "a.safetensors");
    write(Path::new(&file), &saved(0)).expect("a file");
    let shown = thalweg(&["inspect", &file, "--json"]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""));
    let [object] = &shown.json()[..] else { panic!("one object") };
    assert_eq!(keys(object), BTreeSet::from(["file", "writer", "texts", "tensors", "numbers"]));
    assert_eq!((object["writer"].as_str(), object["texts"]["rules"].as_str()), (Some("thalweg"), Some("default: adamw")));
    assert_eq!(object["texts"]["steps"]["w"], 0);
    assert_eq!((&object["numbers"]["setting.default.lr"], &object["numbers"]["host.steps"]), (&0.25.into(), &0.into()));
    let tensors = object["tensors"].as_array().expect("a list");
    let weight = tensors.iter().find(|tensor| tensor["name"] == "param.w").expect("its tensor");
    assert_eq!((&weight["norm"], &weight["least"], &weight["largest"]), (&5.0.into(), &(-4.0).into(), &3.0.into()));
    assert_eq!((&weight["shape"], &weight["type"]), (&serde_json::json!([2, 3]), &"F32".into()));
    assert!(weight["first_not_finite"].is_null());
    let text = thalweg(&["inspect", &file]).out;
    assert!(text.contains("of Thalweg, its hash is right"), "{text}");
    assert!(
        text.lines().any(|line| line.contains("param.w") && line.contains("[2, 3]") && line.contains("5.000000e0")),
        "{text}"
    );
    assert!(text.contains("setting.default.lr = 0.25\n") && text.contains("  rules: default: adamw\n"), "{text}");
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(&folder, "a.safetensors");
    let mut tensors = saved(0);
    tensors.put("param.w", &[2, 3], &[0.0, 1.0, 2.0, 3.0, f32::NAN, f32::INFINITY]).expect("fits");
    tensors.put("empty", &[0, 3], &[] as &[f32]).expect("fits");
    tensors.put("huge", &[2], &[3e300, 4e300]).expect("fits");
    write(Path::new(&file), &tensors).expect("a file");
    let shown = thalweg(&["inspect", &file, "--json"]);
    let object = &shown.json()[0];
    let tensor = |name: &str| {
        object["tensors"].as_array().expect("a list").iter().find(|t| t["name"] == name).expect("a tensor").clone()
    };
    assert_eq!(shown.code, Some(0), "a question is answered");
    assert_eq!(tensor("param.w")["first_not_finite"], serde_json::json!({ "element": [1, 1], "value": "NaN" }));
    assert_eq!((tensor("param.w")["norm"].as_str(), &tensor("huge")["norm"]), (Some("NaN"), &5e300.into()));
    assert_eq!((&tensor("empty")["norm"], &tensor("empty")["least"]), (&0.0.into(), &Value::Null));
    let text = thalweg(&["inspect", &file]).out;
    assert!(text.contains("not finite from [1, 1] on: NaN"), "{text}");
}

#[test]
fn files_are_compared_bit_by_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b, c] = ["a", "b", "c"].map(|name| path(&folder, name));
    let (first, mut second) = (saved(1), saved(1));
    write(Path::new(&a), &first).expect("a file");
    write(Path::new(&b), &second).expect("a file");
    let same = thalweg(&["diff", &a, &b]);
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (Some(0), "the files hold the same bits\n", ""));
    assert_eq!(thalweg(&["diff", &a, &b, "--json"]).json()[0]["same"], true);

    let mut values = first.get::<f32>("param.w").expect("its tensor");
    (values[3], values[5]) = (0.5, -2.0);
    second.put("param.w", &[2, 3], &values).expect("fits");
    second.put("param.b", &[1, 2], &[0.0f32, 1.0]).expect("fits");
    second.remove("host.steps");
    second.put("more", &[1], &[1.0f32]).expect("fits");
    second.texts.insert("rules".into(), "default: adam".into());
    write(Path::new(&c), &second).expect("a file");
    let differ = thalweg(&["diff", &a, &c]);
    assert_eq!((differ.code, differ.err.as_str()), (Some(1), ""));
    for line in [
        "rules: default: adamw in the first, default: adam in the second",
        "host.steps: in the first alone",
        "more: in the second alone",
        "param.b: F32 [2] in the first, F32 [1, 2] in the second",
        "param.w: first at [1, 0], 0 in the first, 0.5 in the second; 2 of 6 elements differ, at most by 2e0",
    ] {
        assert!(differ.out.lines().any(|found| found == line), "{line}: {}", differ.out);
    }
    let differ = thalweg(&["diff", &a, &c, "--json"]);
    let object: Value = serde_json::from_str(&differ.out).expect("an object");
    let object = &object;
    assert_eq!(keys(object), BTreeSet::from(["first", "second", "same", "texts", "tensors", "largest"]));
    assert_eq!((differ.code, &object["same"], &object["largest"]), (Some(1), &false.into(), &2.0.into()));
    let tensor = object["tensors"].as_array().expect("a list").iter().find(|t| t["name"] == "param.w").expect("a tensor");
    assert_eq!(
        (&tensor["element"], &tensor["values"], &tensor["differing"]),
        (&serde_json::json!([1, 0]), &serde_json::json!([0.0, 0.5]), &2.into())
    );
    // NaN is not a small difference, and different bits are a difference.
    values[0] = f32::NAN;
    second.put("param.w", &[2, 3], &values).expect("fits");
    write(Path::new(&c), &second).expect("a file");
    let differ = thalweg(&["diff", &a, &c, "--json"]);
    let object: Value = serde_json::from_str(&differ.out).expect("an object");
    assert_eq!((differ.code, &object["largest"]), (Some(1), &"NaN".into()));
    let mut signed = first.clone();
    signed
        .put(
            "param.w",
            &[2, 3],
            &first
                .get::<f32>("param.w")
                .expect("its tensor")
                .into_iter()
                .map(|x| if x == 0.0 { -0.0 } else { x })
                .collect::<Vec<f32>>(),
        )
        .expect("fits");
    write(Path::new(&c), &signed).expect("a file");
    assert_eq!(thalweg(&["diff", &a, &c]).code, Some(1));
}

#[test]
fn folders_stand_for_their_newest_checkpoint_and_damage_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let mut kept = Folder::open(&run).expect("a folder");
    kept.save(1, &saved(1)).expect("a file");
    let newest = kept.save(2, &saved(2)).expect("a file");
    let run = run.display().to_string();
    let shown = thalweg(&["inspect", &run, "--json"]);
    assert_eq!((shown.code, &shown.json()[0]["file"]), (Some(0), &newest.display().to_string().into()));
    assert_eq!(thalweg(&["diff", &run, &newest.display().to_string()]).code, Some(0));

    let broken = path(&folder, "broken");
    let mut bytes = fs::read(&newest).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&broken, &bytes).expect("a file");
    let cases = [
        (broken.as_str(), "its hash is not that of its content: it was changed"),
        ("nothing/there", "No such file"),
        (folder.path().to_str().expect("text"), "there is no checkpoint in this folder"),
    ];
    for (file, reason) in cases {
        for args in [&["inspect", file][..], &["diff", file, &run], &["diff", &run, file]] {
            let ran = thalweg(args);
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}");
            assert!(ran.err.starts_with("error: ") && ran.err.contains(reason) && ran.err.lines().count() == 1, "{}", ran.err);
        }
    }
    assert_eq!(thalweg(&["inspect"]).code, Some(2));
    assert_eq!(thalweg(&["diff", &run]).code, Some(2));
}

/// A file of another program has no hash.
#[test]
fn files_of_other_programs_are_shown() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoint/torch/adamw.safetensors");
    let ran = thalweg(&["inspect", file, "--json"]);
    let object = &ran.json()[0];
    assert_eq!((ran.code, object["writer"].as_str()), (Some(0), Some("other")));
    assert!(object["tensors"].as_array().expect("a list").iter().any(|tensor| tensor["name"] == "state.w.max_exp_avg_sq"));
    assert!(thalweg(&["inspect", file]).out.contains("of another program, without a hash"));
}
