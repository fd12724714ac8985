//! Imports point one way: each module of the crate uses only floors below its own.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate root, from the lowest floor up. Modules of one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["error", "text", "tree", "random", "memory"],
    &["now"],
    &["rule", "schedule"],
    &["rules", "plan", "data", "checkpoint"],
    &["op"],
    &["cpu", "gpu"],
    &["optimizer", "any_engine"],
    &["lbfgs"],
    &["nn", "sweep"],
    &["train"],
    &["guide"],
];

/// Exported macros are at the crate's root; each belongs to the module that declares it.
const MACROS: &[(&str, &str)] = &[("settings", "rule")];

fn floor(name: &str) -> Option<usize> {
    let module = MACROS.iter().find(|(name_of_macro, _)| *name_of_macro == name).map_or(name, |(_, module)| module);
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// What is wrong with the imports of a file, given by its path below src.
fn wrong_imports(path: &str, source: &str) -> Vec<String> {
    let mut modules: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if modules.last() == Some(&"mod") {
        modules.pop();
    }
    let own = modules[0];
    // The command line is a crate of its own, above everything; its `crate` is not the library's.
    if own == "bin" {
        return Vec::new();
    }
    let Some(own_floor) = floor(own) else {
        return vec![format!("{path}: module {own} has no floor in tests/suite/architecture.rs")];
    };
    let code = without_comments_and_tests(source);
    // As many `super` as the depth of the file lead to the crate's root.
    let from_root = format!("{}::", vec!["super"; modules.len()].join("::"));
    let mut wrong = Vec::new();
    for root in ["crate::", &from_root] {
        for used in heads(&code, root) {
            match floor(&used) {
                _ if used == own => {}
                None if root == "crate::" => wrong.push(format!("{path}: crate::{used} is no module with a floor")),
                // Inside a module within the file, `super` may be the file itself.
                None => {}
                Some(floor) if floor < own_floor => {}
                Some(_) => wrong.push(format!("{path}: {own} uses {used}, which is not below it")),
            }
        }
    }
    wrong
}

/// The source without line comments, doc comments included, and without items for tests only.
fn without_comments_and_tests(source: &str) -> String {
    let mut code: String = source.lines().map(|line| line.split("//").next().unwrap_or("").to_string() + "\n").collect();
    while let Some(start) = code.find("#[cfg(test)]") {
        let item = &code[start..];
        // The item ends with a semicolon, or with the brace that closes its first one.
        let mut depth = 0;
        let end = item.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && (*c == ';' || *c == '}')
        });
        let end = end.map_or(code.len(), |(at, _)| start + at + 1);
        code.replace_range(start..end, "");
    }
    code
}

/// The first names after each `root`, those in braces one by one: `crate::{a, b::c}` names `a` and `b`.
fn heads(code: &str, root: &str) -> Vec<String> {
    let mut heads = Vec::new();
    for (at, _) in code.match_indices(root) {
        // `in crate::x` of a visibility is no import, `xcrate::` no root, `super::super::` no `super::`.
        let before = &code[..at];
        if before.ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c)) || before.ends_with("pub(in ") {
            continue;
        }
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            None => heads.extend(head(rest)),
            Some(list) => {
                let (mut depth, mut start) = (0, 0);
                for (i, c) in list.char_indices() {
                    if depth == 0 && (c == ',' || c == '}') {
                        heads.extend(head(&list[start..i]));
                        start = i + 1;
                    }
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth < 0 {
                        break;
                    }
                }
            }
        }
    }
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty() && name != "super").then_some(name)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(files).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in sources(&src) {
        let path = file.strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/");
        // The root re-exports everything, and files named tests are for tests only.
        if path != "lib.rs" && !path.ends_with("tests.rs") {
            wrong.extend(wrong_imports(&path, &fs::read_to_string(&file).expect("a text")));
            seen += 1;
        }
    }
    assert!(seen >= 30, "only {seen} files");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_import_from_above_is_found() {
    assert_eq!(
        wrong_imports("rule/mod.rs", "use crate::optimizer::Recipe;"),
        ["rule/mod.rs: rule uses optimizer, which is not below it"]
    );
    assert_eq!(wrong_imports("plan/op/mod.rs", "fn f(x: crate::train::Task) {}").len(), 1);
    assert_eq!(wrong_imports("plan/op/mod.rs", "use crate::{error::{Error, Result}, nn, rule};").len(), 1);
    assert_eq!(
        wrong_imports("plan/op/mod.rs", "use crate::{error::{Error, Result},\n    rule::HyperRow, sweep::{self, Space}};")
            .len(),
        1
    );
}

#[test]
fn the_engines_naming_each_other_is_found() {
    assert_eq!(wrong_imports("cpu/gate.rs", "use crate::gpu::Gpu;"), ["cpu/gate.rs: cpu uses gpu, which is not below it"]);
    assert_eq!(wrong_imports("gpu/mod.rs", "use super::cpu::Cpu;").len(), 1);
    assert_eq!(wrong_imports("gpu/device.rs", "use super::super::cpu::Cpu;").len(), 1);
}

#[test]
fn a_module_without_a_floor_is_found() {
    assert_eq!(wrong_imports("extra.rs", "").len(), 1);
    assert_eq!(wrong_imports("gpu/mod.rs", "use crate::extra::Thing;").len(), 1);
    // A name that the root re-exports does not show its module.
    assert_eq!(wrong_imports("gpu/mod.rs", "use crate::Optimizer;").len(), 1);
}

#[test]
fn what_is_below_and_what_is_not_code_is_allowed() {
    let source = "
        //! Uses [`crate::optimizer`].
        use crate::error::{Error, Result};
        use crate::plan::{self, Op};
        use super::kernel;
        pub(crate) struct A; // crate::nn
        #[cfg(test)]
        mod tests { use crate::train::Task; fn f() { crate::sweep::f(); } }
        #[cfg(test)]
        use crate::nn::Mlp;
    ";
    assert_eq!(wrong_imports("gpu/device.rs", source), Vec::<String>::new());
    assert_eq!(wrong_imports("gpu/device.rs", &format!("{source} use crate::nn::Mlp;")).len(), 1);
}

/// For each file of a folder, the files of the folder that it uses; from the sources and their names.
fn siblings<'a>(sources: &'a [(String, String)]) -> Vec<(&'a str, Vec<&'a str>)> {
    let own = |(name, source): &'a (String, String)| {
        let code = without_comments_and_tests(source);
        let used = heads(&code, "super::");
        let files = sources.iter().map(|(file, _)| file.as_str());
        (name.as_str(), files.filter(|file| used.iter().any(|used| used == file)).collect())
    };
    sources.iter().map(own).collect()
}

/// Removes files that use none of the others, again and again, and returns the files that are left: none if there is no circle.
fn circle<'a>(mut uses: Vec<(&'a str, Vec<&'a str>)>) -> Vec<&'a str> {
    loop {
        let left: Vec<&str> = uses.iter().map(|(name, _)| *name).collect();
        uses.retain(|(_, used)| used.iter().any(|used| left.contains(used)));
        if uses.len() == left.len() {
            return left;
        }
    }
}

/// The files of `optimizer` that use its `mod.rs`.
const ABOVE_OPTIMIZER: &[&str] = &[
    "all_lanes",
    "asynchronous",
    "borrowed_buffers",
    "borrowed_memory",
    "fitting",
    "fresh",
    "lane",
    "only_lane",
    "saved",
    "torch",
    "weights",
];

#[test]
fn files_of_a_folder_read_one_way() {
    for (folder, least, above) in [("optimizer", 10, ABOVE_OPTIMIZER), ("sweep", 15, &[]), ("cpu", 15, &[]), ("gpu", 25, &[])] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src").join(folder);
        let text = |path: PathBuf| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a text"))
        };
        let sources: Vec<(String, String)> =
            sources(&path).into_iter().map(text).filter(|(name, _)| name != "mod" && name != "tests").collect();
        assert!(sources.len() >= least, "only {} files in {folder}", sources.len());
        assert_eq!(circle(siblings(&sources)), Vec::<&str>::new());
        // A name that mod.rs re-exports does not show its file, so only files above mod.rs may take it from there.
        for (name, source) in sources.iter().filter(|(name, _)| !above.contains(&name.as_str())) {
            let used = heads(&without_comments_and_tests(source), "super::");
            let hidden: Vec<&String> = used.iter().filter(|used| used.starts_with(char::is_uppercase)).collect();
            assert!(hidden.is_empty(), "{name} takes {hidden:?} from mod.rs");
        }
    }
}

#[test]
fn a_circle_of_files_is_found() {
    let file = |name: &str, source: &str| (name.to_string(), source.to_string());
    let sources = [
        file("a", "use super::b::B;"),
        file("b", "use super::c;"),
        file("c", "fn f(_: super::a::A) {}"),
        file("d", "use super::a;"),
    ];
    assert_eq!(circle(siblings(&sources)), ["a", "b", "c", "d"]);
    assert_eq!(circle(siblings(&sources[..2])), Vec::<&str>::new());
}

/// Operations of a step may get new fields when their kernels do. So code outside the crate must not build or destructure them
/// field by field.
#[test]
fn operations_of_a_step_may_get_fields() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/plan/op");
    let source: String = sources(&folder).iter().map(|file| fs::read_to_string(file).expect("the operations")).collect();
    let named = source.split("pub enum Op {").nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("their enum");
    // Variants that hold a struct of this folder.
    let structs: Vec<&str> =
        named.lines().filter_map(|line| line.trim().strip_suffix("),")?.split_once('(')).map(|(_, of)| of).collect();
    assert!(structs.len() > 9, "{structs:?}");
    for of in structs.iter().filter(|of| **of != "Operated").chain(&["Micro", "Extras"]) {
        assert!(source.contains(&format!("#[non_exhaustive]\npub struct {of} {{")), "{of} is not #[non_exhaustive]");
    }
    assert!(source.contains("#[non_exhaustive]\npub enum Op {"));
}
