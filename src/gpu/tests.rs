//! Every kernel that the crate composes is valid WGSL, translates to each driver's language, and is laid out as the host thinks.
//! No device is needed.

use super::kernel::{Access, Kernel};
use super::{network, step, vectors};
use crate::plan::{ALIGN, Activation, Counter, Extras, NormKind};
use crate::rule::{AnyRule, Real, Row, Rule, Setting};
use crate::rules::rules;
use crate::{Result, range};
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module, ShaderStage, StorageAccess, StructMember, TypeInner};

/// A rule from outside the crate, without state.
#[derive(Debug, Clone)]
struct SignSgd {
    lr: f64,
}

impl Rule for SignSgd {
    type Row<F: Real> = [F; 1];
    type State<F: Real> = [F; 0];
    const NAME: &'static str = "signsgd";
    const FORMULA: &'static str = "x −= lr·sign(d)";
    const ROW: &'static [&'static str] = &["lr"];
    const STATE: &'static [&'static str] = &[];
    const WGSL: &'static str = "
        struct Hyper { lr: f32 }
        struct State { none: f32 }
        fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * sign(d); }";

    fn check(&self) -> Result<()> {
        range::not_negative("lr", self.lr)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn settings(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        vec![("lr", Setting::Number(&mut self.lr))]
    }

    fn row(&self, _t: u64) -> [f64; 1] {
        [self.lr]
    }

    fn update<F: Real>(&self, &[lr]: &[F; 1], x: F, d: F, _s: &mut [F; 0]) -> F {
        x - lr * d.signum()
    }
}

/// Every registered rule and one from outside.
fn all_rules() -> Vec<Box<dyn AnyRule>> {
    let outside: Box<dyn AnyRule> = Box::new(SignSgd { lr: 0.1 });
    rules().into_iter().chain([outside]).collect()
}

/// A rule with every combination of its switches, and with each of its numbers at 0 and at a half: whatever changes the kernel.
fn variants(rule: &dyn AnyRule) -> Vec<Box<dyn AnyRule>> {
    let mut variants = vec![rule.boxed()];
    let count = rule.boxed().settings().len();
    for index in 0..count {
        for mut variant in variants.clone() {
            let choices: &[f64] = match &variant.settings()[index].1 {
                Setting::Number(_) => &[0.0, 0.5],
                Setting::Flag(_) => &[1.0],
            };
            for &choice in choices {
                match &mut variant.settings()[index].1 {
                    Setting::Number(number) => **number = choice,
                    Setting::Flag(flag) => **flag = true,
                }
                variants.push(variant.clone());
            }
        }
        // Only what makes another kernel is worth keeping.
        let mut seen = std::collections::HashSet::new();
        variants.retain(|variant| seen.insert(format!("{:?} {:?}", variant.overrides(), variant.planes())));
    }
    variants
}

fn update_kernels() -> Vec<(Box<dyn AnyRule>, Kernel)> {
    let mut kernels = Vec::new();
    for variant in all_rules().iter().flat_map(|rule| variants(&**rule)) {
        for (groups, lanes) in [(false, false), (false, true), (true, false), (true, true)] {
            for holder in [step::Holder::Own, step::Holder::Foreign] {
                kernels.push((
                    variant.clone(),
                    step::update_kernel(&*variant, groups, lanes, holder, Extras { max_value: groups, l1: lanes }),
                ));
            }
        }
    }
    kernels
}

fn kernels() -> Vec<Kernel> {
    let functions = [Activation::Relu, Activation::Gelu, Activation::Tanh];
    let mut kernels: Vec<Kernel> = update_kernels().into_iter().map(|(_, kernel)| kernel).collect();
    let kinds = [NormKind::L2, NormKind::L1, NormKind::Max];
    kernels.extend(
        kinds
            .into_iter()
            .flat_map(|kind| [step::Holder::Own, step::Holder::Foreign].map(|holder| step::norm_kernel(kind, holder))),
    );
    kernels.push(step::control_kernel(None, false));
    kernels.extend(kinds.into_iter().flat_map(|kind| [false, true].map(|scaled| step::control_kernel(Some(kind), scaled))));
    kernels.extend(functions.map(network::activate_kernel));
    kernels.extend(functions.map(network::activate_grad_kernel));
    kernels.extend([network::gather_kernel(), network::tick_kernel(), network::sum_rows_kernel(), network::tally_kernel()]);
    kernels.extend([false, true].map(step::copy_kernel));
    kernels.extend([network::cross_entropy_kernel(), network::squared_error_kernel()]);
    kernels.extend((1..=2).flat_map(|left| (1..=4).map(move |right| vectors::dots_kernel(left, right))));
    kernels.extend(kinds.map(vectors::join_kernel));
    kernels.extend((1..=6).flat_map(|terms| [false, true].map(|add| vectors::combine_kernel(terms, add))));
    kernels
}

/// Parses and validates with what plain WebGPU offers.
fn module(kernel: &Kernel) -> (Module, ModuleInfo) {
    let source = &kernel.source;
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(source)));
    (module, info)
}

/// The members of the struct of that name.
fn members<'a>(module: &'a Module, name: &str) -> (&'a [StructMember], u32) {
    let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name));
    match &found.unwrap_or_else(|| panic!("no struct {name}")).1.inner {
        TypeInner::Struct { members, span } => (members, *span),
        other => panic!("{name} is {other:?}"),
    }
}

fn names(members: &[StructMember]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_deref().expect("a name")).collect()
}

#[test]
fn every_kernel_translates_to_each_drivers_language() {
    for kernel in kernels() {
        let what = format!("{} {:?}", kernel.name, kernel.constants);
        let (module, info) = module(&kernel);
        let entry = (ShaderStage::Compute, kernel.name);
        let constants: PipelineConstants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let (module, info) = process_overrides(&module, &info, Some(entry), &constants).expect(&what);

        let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.into() };
        let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&pipeline)).expect(&what);
        assert_eq!(words[0], 0x0723_0203, "{what}: SPIR-V's magic number");

        let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).expect(&what);
        assert!(text.contains("kernel void"), "{what}: {text}");

        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(&module, &info, None).expect(&what);
        assert!(text.contains("[numthreads("), "{what}: {text}");
    }
}

/// Kernels are compiled without bounds checks; they must not need any to be translated.
#[test]
fn every_kernel_translates_without_bounds_checks() {
    for kernel in kernels() {
        let (module, info) = module(&kernel);
        let constants: PipelineConstants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let (module, info) = process_overrides(&module, &info, None, &constants).expect(kernel.name);
        let unchecked = BoundsCheckPolicy::Unchecked;
        let bounds_check_policies =
            BoundsCheckPolicies { index: unchecked, buffer: unchecked, image_load: unchecked, binding_array: unchecked };
        let options = spv::Options { bounds_check_policies, ..Default::default() };
        spv::write_vec(&module, &info, &options, None).expect(kernel.name);
    }
}

#[test]
fn every_constant_is_an_override_of_its_kernel() {
    for kernel in kernels() {
        let (module, _) = module(&kernel);
        let mut declared: Vec<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let mut given: Vec<&str> = kernel.constants.iter().map(|(name, _)| *name).collect();
        declared.sort_unstable();
        given.sort_unstable();
        assert_eq!(given, declared, "{}", kernel.name);
    }
}

#[test]
fn uniforms_are_laid_out_as_on_the_host() {
    for kernel in kernels() {
        let (module, _) = module(&kernel);
        let mut globals = module.global_variables.iter().map(|(_, global)| global);
        let first = |global: &&GlobalVariable| global.binding.is_some_and(|binding| binding.binding == 0);
        let uniform = globals.find(first).expect(kernel.name);
        assert_eq!(uniform.space, AddressSpace::Uniform, "{}", kernel.name);
        let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else { panic!("{}: no struct", kernel.name) };
        assert_eq!(names(members), kernel.fields, "{}", kernel.name);
        for (i, member) in members.iter().enumerate() {
            assert_eq!(member.offset, 4 * i as u32, "{}: {:?}", kernel.name, member.name);
            assert!(
                matches!(module.types[member.ty].inner, TypeInner::Scalar(scalar) if scalar.width == 4),
                "{:?}",
                member.name
            );
        }
        assert_eq!(*span, 4 * members.len() as u32, "{}", kernel.name);
    }
}

#[test]
fn storage_bindings_have_the_access_that_layouts_declare() {
    for kernel in kernels() {
        let (module, _) = module(&kernel);
        let mut bindings: Vec<(u32, Access)> = module
            .global_variables
            .iter()
            .filter_map(|(_, global)| {
                let access = match global.space {
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::Write,
                    AddressSpace::Storage { .. } => Access::Read,
                    AddressSpace::Uniform => Access::Uniform,
                    _ => return None,
                };
                Some((global.binding.expect("a binding").binding, access))
            })
            .collect();
        bindings.sort_unstable_by_key(|(binding, _)| *binding);
        let declared = [Access::Uniform].into_iter().chain(kernel.bindings.iter().copied());
        let expected: Vec<(u32, Access)> = (0..).zip(declared).collect();
        assert_eq!(bindings, expected, "{}", kernel.name);
        let storage = bindings.iter().filter(|(_, access)| *access != Access::Uniform).count();
        assert!(storage <= 8, "{} binds {storage} storage buffers, WebGPU allows 8", kernel.name);
    }
}

#[test]
fn the_entry_point_is_named_like_the_kernel_and_fits_into_webgpus_limits() {
    for kernel in kernels() {
        let (module, _) = module(&kernel);
        let [entry] = &module.entry_points[..] else { panic!("{}: one entry point", kernel.name) };
        assert_eq!(entry.name, kernel.name);
        assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{}: {:?}", kernel.name, entry.workgroup_size);
    }
}

#[test]
fn rules_have_the_same_names_in_both_languages() {
    for (rule, kernel) in update_kernels() {
        let (module, _) = module(&kernel);
        let (hyper, _) = members(&module, "Hyper");
        assert_eq!(names(hyper), rule.row_names(), "{}", rule.name());
        let (state, _) = members(&module, "State");
        match rule.state_names() {
            [] => assert_eq!(state.len(), 1, "{}: one unused field", rule.name()),
            expected => assert_eq!(names(state), expected, "{}", rule.name()),
        }
    }
}

#[test]
fn rows_are_laid_out_as_on_the_host() {
    for (rule, kernel) in update_kernels() {
        let (module, _) = module(&kernel);
        let (row, span) = members(&module, "Row");
        assert_eq!(span as usize, 4 * Row::LEN, "{}", rule.name());
        let (shared, own) = row.split_at(Row::SHARED.len());
        assert_eq!(names(shared), Row::SHARED, "{}", rule.name());
        assert_eq!(names(own), ["hyper"], "{}", rule.name());
        assert!(row.iter().enumerate().all(|(i, member)| member.offset == 4 * i as u32), "{}", rule.name());
        let (hyper, _) = members(&module, "Hyper");
        assert!(hyper.iter().enumerate().all(|(i, member)| member.offset == 4 * i as u32), "{}", rule.name());
    }
}

/// The numbers that shaders repeat from the host.
#[test]
fn constants_in_shaders_are_those_of_the_host() {
    let source = step::control_kernel(None, false).source;
    let expected = [
        ("ROW", Row::LEN),
        ("LIVE", Row::LIVE),
        ("SCALE", Row::SCALE),
        ("MAX_NORM", Row::MAX_NORM),
        ("COUNTERS", Counter::LEN),
    ];
    for (name, value) in expected {
        assert!(source.contains(&format!("const {name} = {value}u;")), "{name} = {value}");
    }
    // The update's kernel finds a group by its block of vec4s.
    let source = step::update_kernel(&SignSgd { lr: 0.1 }, true, false, step::Holder::Own, Extras::default()).source;
    assert!(source.contains(&format!("% op.len / {}u", ALIGN / 4)));
}

#[test]
fn every_switch_of_every_rule_makes_a_kernel() {
    for rule in rules() {
        let variants = variants(&*rule);
        for (index, (name, _)) in rule.overrides().iter().enumerate() {
            for value in [false, true] {
                assert!(variants.iter().any(|variant| variant.overrides()[index].1 == value), "{} {name} {value}", rule.name());
            }
        }
    }
}
