//! Engines and adapters: `info`, `--engine` and `--adapter`.

use super::*;

#[test]
fn both_engines_learn_alike() {
    let gpu = thalweg(&["train", "--engine", "gpu", "--json", "--epochs", "4"]).epochs();
    assert_eq!((gpu.len(), &gpu[4]["engine"], &gpu[4]["steps"]), (5, &"gpu".into(), &92.into()));
    let first = |lines: &[Value]| lines[0]["train_loss"].as_f64().expect("a number");
    let cpu = trained(&["--epochs", "4"]);
    // Both start from the same weights and batches, so they differ only by rounding.
    assert!((first(&gpu) - first(&cpu)).abs() < 1e-4, "{} {}", first(&gpu), first(&cpu));
    assert!((last_test(&gpu).1 - last_test(&cpu).1).abs() < 0.02, "{gpu:?} {cpu:?}");
}

#[test]
fn part_of_a_name_picks_the_adapter() {
    let info = thalweg(&["info", "--json"]).json();
    let name = info[0]["adapters"][0]["name"].as_str().expect("an adapter: install mesa-vulkan-drivers").to_uppercase();
    let lines = thalweg(&["train", "--adapter", &name[..name.len().min(6)], "--json", "--epochs", "1"]).epochs();
    assert_eq!(lines[1]["engine"], "gpu");
    assert!(lines[1]["adapter"].as_str().is_some_and(|adapter| adapter.to_uppercase().contains(&name[..name.len().min(6)])));
}

#[test]
fn auto_picks_what_info_says() {
    let info = thalweg(&["info", "--json"]).json();
    let ran = thalweg(&["train", "--json", "--epochs", "1"]);
    let expected = &info[0]["auto"]["engine"];
    assert_eq!(&ran.epochs()[1]["engine"], expected);
    let said = ran.err.lines().filter(|line| line.starts_with("no GPU: ")).count();
    assert_eq!(said, usize::from(expected == "cpu"), "{}", ran.err);
    assert!(expected == "gpu" || ran.err.contains("; training on the CPU engine (CPU, f32, "), "{}", ran.err);
}

#[test]
fn info_lists_adapters_and_limits() {
    let info = thalweg(&["info", "--json"]).json();
    let adapter = &info[0]["adapters"][0];
    let has = ["name", "backend", "type", "driver", "driver_info", "limits", "features", "kernels"];
    assert_eq!(keys(adapter), BTreeSet::from(has));
    assert!(adapter["limits"]["binding_bytes"].as_u64() >= Some(128 << 20), "{adapter}");
    assert!(adapter["features"]["timestamps"].is_boolean(), "{adapter}");
    let product = adapter["kernels"]["matrix_product"].as_str().expect("a name");
    assert_eq!(product.starts_with("lean"), adapter["type"] == "Cpu", "{adapter}");

    let text = thalweg(&["info"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    for part in
        [adapter["name"].as_str().expect("a name"), "matrix product: ", "CPU engine: CPU, f32, ", "--engine auto picks: "]
    {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
}

/// The Vulkan loader can be made to find no driver. On other systems than Linux there are other ways to a GPU.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_there_is_advice() {
    let run = |args: &[&str]| {
        let mut command = command(args);
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        finish(command)
    };
    let info = run(&["info"]);
    assert_eq!(info.code, Some(0));
    assert!(info.out.contains("GPU adapters: 0") && info.out.contains("apt-get install mesa-vulkan-drivers"), "{}", info.out);
    let gpu = run(&["train", "--engine", "gpu"]);
    assert_eq!((gpu.code, gpu.out.as_str(), gpu.err.lines().count()), (Some(1), "", 1), "{gpu:?}");
    assert!(gpu.err.starts_with("error: no GPU adapter: ") && gpu.err.contains("apt-get install"), "{gpu:?}");
    let auto = run(&["train", "--json", "--epochs", "1"]);
    assert_eq!(auto.epochs()[1]["engine"], "cpu");
    assert!(auto.err.starts_with("no GPU: none was found; training on the CPU engine"), "{auto:?}");
}
