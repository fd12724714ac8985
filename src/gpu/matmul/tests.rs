use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use crate::gpu::kernel::Kernel;
use crate::gpu::operation;
use crate::op::{MatMul, Variant};
use crate::plan::{Dispatch, GROUPS, Layout, Operated, Plan, Scope, View};
use wgpu::util::DeviceExt;

const SIZES: [usize; 18] = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129];

/// A product with its data: buffers hold their lanes one after the other, the views start at an offset.
#[derive(Clone)]
struct Case {
    op: MatMul,
    layout: Layout,
    /// A, B, bias, C as they are before.
    data: [Vec<f32>; 4],
}

/// What a case is made of.
#[derive(Clone, Copy, Default)]
struct Shape {
    m: usize,
    k: usize,
    n: usize,
    lanes: usize,
    shared_a: bool,
    trans_a: bool,
    trans_b: bool,
    bias: bool,
    accumulate: bool,
    offset: usize,
}

impl Shape {
    fn plain(m: usize, k: usize, n: usize) -> Self {
        Self { m, k, n, lanes: 1, ..Self::default() }
    }

    /// Everything outside of the views is NaN, and so is C, unless it is added to.
    fn case(self, rng: &mut fastrand::Rng) -> Case {
        let Self { m, k, n, lanes, offset, .. } = self;
        let mut layout = Layout::new(lanes);
        let view = |buffer, len| View { buffer, offset, len };
        let a = if self.shared_a { layout.shared_floats("a", m * k + offset) } else { layout.floats("a", m * k + offset) };
        let b = layout.floats("b", k * n + offset + 3);
        let bias = layout.floats("bias", n + offset);
        let c = layout.floats("c", m * n + offset + 1);
        let mut op = MatMul::new(view(a, m * k), view(b, k * n), view(c, m * n), m, k, n);
        (op.trans_a, op.trans_b, op.accumulate) = (self.trans_a, self.trans_b, self.accumulate);
        op.bias = self.bias.then_some(view(bias, n));
        let mut plan = Plan::default();
        plan.operate(op.clone());
        plan.check(&layout).unwrap();

        let mut fill = |view: View, known: bool| {
            let buffer = layout.declared(view.buffer);
            let copies = if buffer.scope == Scope::Shared { 1 } else { lanes };
            let mut data = vec![f32::NAN; buffer.stride() * copies];
            for lane in 0..copies {
                let start = lane * buffer.stride() + view.offset;
                if known {
                    data[start..start + view.len].fill_with(|| rng.f32() * 2.0 - 1.0);
                }
            }
            data
        };
        let data = [fill(op.a, true), fill(op.b, true), fill(view(bias, n), self.bias), fill(op.c, self.accumulate)];
        Case { op, layout, data }
    }
}

impl Case {
    /// First element of a view in a lane.
    fn start(&self, view: View, lane: usize) -> usize {
        let buffer = self.layout.declared(view.buffer);
        view.offset + if buffer.scope == Scope::Shared { 0 } else { lane * buffer.stride() }
    }

    /// The lane, row and column of each element of C.
    fn places_of_c(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (lanes, m, n) = (self.layout.lanes(), self.op.m, self.op.n);
        (0..lanes).flat_map(move |lane| (0..m).flat_map(move |row| (0..n).map(move |column| (lane, row, column))))
    }

    /// Each element of C, and the size of all that is added to it, by [`Case::places_of_c`].
    fn expected(&self) -> Vec<(f64, f64)> {
        let Case { op, data: [a, b, bias, before], .. } = self;
        let (m, k, n) = (op.m, op.k, op.n);
        let element = |(lane, row, column): (usize, usize, usize)| {
            let [a0, b0, c0] = [op.a, op.b, op.c].map(|view| self.start(view, lane));
            let (mut sum, mut size) = (0.0, 0.0);
            for i in 0..k {
                let x = f64::from(a[a0 + if op.trans_a { i * m + row } else { row * k + i }]);
                let y = f64::from(b[b0 + if op.trans_b { column * k + i } else { i * n + column }]);
                sum += x * y;
                size += (x * y).abs();
            }
            let mut add = |value: f32| {
                sum += f64::from(value);
                size += f64::from(value.abs());
            };
            if let Some(view) = op.bias {
                add(bias[self.start(view, lane) + column]);
            }
            if op.accumulate {
                add(before[c0 + row * n + column]);
            }
            (sum, size)
        };
        self.places_of_c().map(element).collect()
    }

    /// Panics unless `c` is what is expected in every lane, and what is no part of C as before.
    fn verify(&self, c: &[f32], expected: &[(f64, f64)], what: &str) {
        let Case { op, data: [.., before], .. } = self;
        assert_eq!(expected.len(), self.layout.lanes() * op.m * op.n);
        let mut rest: Vec<bool> = vec![true; c.len()];
        for ((lane, row, column), (sum, size)) in self.places_of_c().zip(expected) {
            let at = self.start(op.c, lane) + row * op.n + column;
            // The bound of a sum in any order is half of this: k products and k + 1 sums, each rounded by eps / 2.
            let bound = (op.k + 2) as f64 * f64::from(f32::EPSILON) * size;
            let err = (f64::from(c[at]) - sum).abs();
            let right = err <= bound;
            assert!(right, "{what}, lane {lane}, ({row}, {column}): {} is not {sum} ± {bound}", c[at]);
            rest[at] = false;
        }
        for (at, _) in rest.iter().enumerate().filter(|(_, rest)| **rest) {
            assert_eq!(c[at].to_bits(), before[at].to_bits(), "{what}: element {at} is no part of C");
        }
    }

    /// Where each operand begins, and its elements from lane to lane.
    fn places(&self) -> Vec<[u32; 2]> {
        let place = |view: View| [self.start(view, 0), self.start(view, 1) - self.start(view, 0)].map(|word| word as u32);
        [Some(self.op.a), Some(self.op.b), self.op.bias, Some(self.op.c)].into_iter().flatten().map(place).collect()
    }

    fn describe(&self, variant: Variant) -> String {
        let MatMul { m, k, n, trans_a, trans_b, accumulate, .. } = self.op;
        let bias = self.op.bias.is_some();
        format!("{variant:?} {m}×{k}×{n}, a^T {trans_a}, b^T {trans_b}, bias {bias}, accumulate {accumulate}")
    }
}

struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    subgroups: bool,
    pipelines: Mutex<HashMap<String, wgpu::ComputePipeline>>,
}

/// A CPU adapter if there is one, else any.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        adapters.sort_by_key(|adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu);
        let adapter = adapters.first().expect("no GPU adapter; on Debian: apt-get install mesa-vulkan-drivers libvulkan1");
        let features = adapter.features() & wgpu::Features::SUBGROUP;
        let subgroups = !features.is_empty() && adapter.get_info().subgroup_min_size >= 8;
        let descriptor = wgpu::DeviceDescriptor { required_features: features, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        Gpu { device, queue, subgroups, pipelines: Mutex::default() }
    })
}

impl Gpu {
    fn variants(&self) -> Vec<Variant> {
        let subgroup = self.subgroups.then_some(Variant::LeanSubgroup);
        [Variant::Lean, Variant::Tile].into_iter().chain(subgroup).collect()
    }

    #[expect(unsafe_code, reason = "the kernels are tested as they run: without bounds checks")]
    fn pipeline(&self, kernel: &Kernel, trusted: bool) -> wgpu::ComputePipeline {
        let key = format!("{trusted} {:?} {}", kernel.constants, kernel.source);
        let mut pipelines = self.pipelines.lock().unwrap();
        let make = || {
            let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            };
            let storage = kernel.bindings.iter().map(|access| access.binding_type());
            let entries: Vec<_> = [wgpu::BufferBindingType::Uniform]
                .into_iter()
                .chain(storage)
                .enumerate()
                .map(|(i, ty)| entry(i as u32, ty))
                .collect();
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
            let bindings = self.device.create_bind_group_layout(&descriptor);
            let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&bindings)],
                immediate_size: 0,
            });
            let source = wgpu::ShaderSource::Wgsl(kernel.source.clone().into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: None, source };
            let module = if trusted {
                // SAFETY: the kernels stay inside of their bindings and end, which these tests check by comparison with the
                // checked module.
                unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
            } else {
                self.device.create_shader_module(descriptor)
            };
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(&layout),
                module: &module,
                entry_point: Some(kernel.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &kernel.constants,
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        };
        pipelines.entry(key).or_insert_with(make).clone()
    }

    /// The buffer of C afterwards.
    fn run(&self, case: &Case, variant: Variant, trusted: bool) -> Vec<f32> {
        self.dispatch(case, variant, trusted, &case.places(), case.layout.lanes())
    }

    fn dispatch(&self, case: &Case, variant: Variant, trusted: bool, places: &[[u32; 2]], lanes: usize) -> Vec<f32> {
        let dispatch = case.op.dispatch(variant);
        let pipeline = &self.pipeline(&kernel(&case.op, &dispatch), trusted);
        let words = operation::words(&Operated::new(case.op.clone()), &dispatch, places).unwrap();
        let [x, y] = dispatch.grid;
        let grid = [x, y, lanes as u32];
        let buffer = |contents: &[u8], usage| {
            self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
        };
        let uniform = buffer(bytemuck::cast_slice(&words), wgpu::BufferUsages::UNIFORM);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let [a, b, bias, c] = case.data.each_ref().map(|data| buffer(bytemuck::cast_slice(data), usage));
        let read = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: c.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bias = case.op.bias.map(|_| &bias);
        let entries: Vec<_> = [Some(&uniform), Some(&a), Some(&b), bias, Some(&c)]
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(i, buffer)| wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        let [x, y, z] = grid;
        pass.dispatch_workgroups(x, y, z);
        drop(pass);
        encoder.copy_buffer_to_buffer(&c, 0, &read, 0, c.size());
        self.queue.submit([encoder.finish()]);
        read.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::cast_slice(&read.slice(..).get_mapped_range().unwrap()).to_vec()
    }
}

fn kernel(op: &MatMul, dispatch: &Dispatch) -> Kernel {
    operation::kernel(&Operated::new(op.clone()), dispatch, operation::Width::One)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Every variant on one case, trusted and checked, and each lane alone.
fn agree(case: &Case) {
    let (gpu, expected) = (gpu(), case.expected());
    for variant in gpu.variants() {
        let what = case.describe(variant);
        let c = gpu.run(case, variant, true);
        case.verify(&c, &expected, &what);
        assert!(bits(&c) == bits(&gpu.run(case, variant, false)), "{what}: bounds checks change the result");

        let lanes = case.layout.lanes();
        if lanes > 1 {
            let lane = lanes / 2;
            let mut places = case.places();
            places.iter_mut().for_each(|[first, stride]| *first += lane as u32 * *stride);
            let alone = gpu.dispatch(case, variant, true, &places, 1);
            let start = case.start(case.op.c, lane);
            let part = start..start + case.op.c.len;
            assert!(bits(&alone[part.clone()]) == bits(&c[part]), "{what}: a lane differs from the same product alone");
        }
    }
}

/// Random sizes, lanes and offsets; transposition of A and B, bias and accumulation as in one of `switches`.
fn sweep(cases: usize, switches: &[[bool; 4]]) {
    let mut rng = fastrand::Rng::with_seed(1);
    for i in 0..cases {
        let mut size = || SIZES[rng.usize(..SIZES.len())];
        let (m, k, n) = (size(), size(), size());
        agree(&shape(&mut rng, [m, k, n], switches[i % switches.len()]).case(&mut rng));
    }
}

/// Random lanes and offset for a product.
fn shape(rng: &mut fastrand::Rng, [m, k, n]: [usize; 3], [trans_a, trans_b, bias, accumulate]: [bool; 4]) -> Shape {
    let lanes = if rng.bool() { 1 } else { 3 };
    let offset = rng.usize(..3) * 5;
    Shape { m, k, n, lanes, shared_a: rng.bool(), trans_a, trans_b, bias, accumulate, offset }
}

#[test]
fn products_of_all_sizes_are_right() {
    let [f, t] = [false, true];
    sweep(160, &[[f, f, f, f], [f, t, t, f], [t, f, f, t], [t, t, t, t]]);
}

/// Every kernel that there is: each of the 16 sets of switches with low and tall, narrow and wide tiles, on four sizes.
#[test]
fn products_with_all_switches_are_right() {
    let mut rng = fastrand::Rng::with_seed(8);
    for i in 0..16 {
        for (is_tall, is_wide) in [(false, false), (true, false), (false, true), (true, true)] {
            for _ in 0..4 {
                let mut size = |fits: &dyn Fn(usize) -> bool| {
                    let sizes: Vec<usize> = SIZES.into_iter().filter(|&size| fits(size)).collect();
                    sizes[rng.usize(..sizes.len())]
                };
                let sizes = [size(&|m| (m > 8) == is_tall), size(&|_| true), size(&|n| (n > 32) == is_wide)];
                let case = shape(&mut rng, sizes, std::array::from_fn(|bit| i >> bit & 1 == 1)).case(&mut rng);
                assert_eq!((case.op.tall(), case.op.wide()), (is_tall, is_wide));
                agree(&case);
            }
        }
    }
}

#[test]
fn large_tiles_are_right() {
    let mut rng = fastrand::Rng::with_seed(2);
    for (i, (m, k, n)) in [(512, 16, 1024), (1025, 17, 515), (4100, 1, 129), (641, 0, 900)].into_iter().enumerate() {
        let (trans_a, trans_b) = (i % 2 == 1, i / 2 == 1);
        let shape = Shape { trans_a, trans_b, bias: i == 3, accumulate: i == 1, lanes: 1 + i / 2, ..Shape::plain(m, k, n) };
        let case = shape.case(&mut rng);
        assert!(case.op.large());
        agree(&case);
    }
}

#[test]
fn more_tiles_than_one_dimension_holds_are_right() {
    let mut rng = fastrand::Rng::with_seed(3);
    let case = Shape::plain(65_536 * 32 + 1, 1, 1).case(&mut rng);
    let expected = case.expected();
    for variant in [Variant::Lean, Variant::Tile] {
        let [x, y] = case.op.dispatch(variant).grid;
        assert!(y > 1 && x as usize <= GROUPS);
        case.verify(&gpu().run(&case, variant, true), &expected, &case.describe(variant));
    }
}

#[test]
fn sums_as_long_as_a_cpu_adapter_allows_are_right() {
    let mut rng = fastrand::Rng::with_seed(4);
    for (k, variants) in [(65_535, &[Variant::Lean, Variant::LeanSubgroup][..]), (58_248, &[Variant::Tile])] {
        let case = Shape::plain(3, k, 5).case(&mut rng);
        for &variant in gpu().variants().iter().filter(|variant| variants.contains(variant)) {
            assert!(case.op.dispatch(variant).trips <= 65_535);
            case.verify(&gpu().run(&case, variant, true), &case.expected(), &case.describe(variant));
        }
    }
}

#[test]
fn many_products_are_folded_into_two_dimensions() {
    let op = Shape::plain(1, 1, 1).case(&mut fastrand::Rng::with_seed(5)).op;
    assert_eq!(op.dispatch(Variant::Lean).grid, [1, 1]);
    assert_eq!(op.clone().batch(65_535).dispatch(Variant::Lean).grid, [65_535, 1]);
    assert_eq!(op.batch(65_536).dispatch(Variant::Tile).grid, [32_768, 2]);
}

#[test]
fn nothing_to_compute_is_an_empty_grid() {
    let op = Shape::plain(0, 4, 4).case(&mut fastrand::Rng::with_seed(6)).op;
    assert_eq!(op.dispatch(Variant::Tile).grid, [0, 0]);
    assert_eq!(MatMul { m: 4, k: 0, ..op.clone() }.dispatch(Variant::Tile).grid, [1, 1]);
    assert_eq!(MatMul { m: 4, ..op }.batch(0).dispatch(Variant::Lean).grid, [0, 0]);
}

#[test]
fn kernels_translate_to_every_backend() {
    use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
    let mut rng = fastrand::Rng::with_seed(7);
    let shapes = [Shape::plain(8, 1, 32), Shape::plain(9, 1, 33), Shape::plain(1024, 1, 512)];
    let variants = [Variant::Lean, Variant::LeanSubgroup, Variant::Tile];
    for (i, (shape, variant)) in shapes.iter().flat_map(|shape| variants.map(|variant| (shape, variant))).enumerate() {
        let on = i % 2 == 0;
        let shape = Shape { trans_a: on, trans_b: !on, bias: on, accumulate: on, ..*shape };
        let op = shape.case(&mut rng).op;
        let kernel = kernel(&op, &op.dispatch(variant));
        let module =
            naga::front::wgsl::parse_str(&kernel.source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&kernel.source)));
        let subgroup = variant == Variant::LeanSubgroup;
        let capabilities = if subgroup { naga::valid::Capabilities::SUBGROUP } else { naga::valid::Capabilities::empty() };
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
        validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
        let info = validator.validate(&module).unwrap();
        let entry = (naga::ShaderStage::Compute, kernel.name);
        let constants = kernel.constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let (module, info) = process_overrides(&module, &info, Some(entry), &constants).unwrap();

        let words = spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None).unwrap();
        assert!(!words.is_empty());
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &Default::default()).unwrap();
        assert!(text.contains(kernel.name));
        let options =
            hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, fake_missing_bindings: true, ..Default::default() };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &Default::default()).write(&module, &info, None).unwrap();
        assert!(text.contains(kernel.name));
        for slices in module.global_variables.iter().filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup) {
            assert_eq!(variant, Variant::Tile, "{slices:?}");
        }
    }
}
