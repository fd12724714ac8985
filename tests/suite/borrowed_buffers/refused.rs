//! Slices that are refused, each by its name.

use super::*;

#[test]
fn a_layout_of_other_tensors_is_refused() -> Result<()> {
    let gpu = gpu();
    let borrowed = || Borrowed::new(&[in_one_buffer(&gpu)]).expect("slices");
    let slices = borrowed().arena().clone();
    let (mut blueprint, mut other) = (Blueprint::new(1), Arena::default());
    other.add("w", &[slices.len()])?;
    let refused = |blueprint: &Blueprint| gpu.load_over(blueprint, borrowed()).err().map(|error| error.to_string());
    let params = blueprint.arena("params", &slices, Role::Params);
    blueprint.borrow(params);
    let expected = "borrowed buffers: 1 and 0 of 1 found, one of parameters and one of gradients expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    let grads = blueprint.arena("grads", &other, Role::Grads);
    blueprint.borrow(grads);
    let expected = "grads: another of 18752 found, the arena of the slices, of 18752 elements expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    let average = blueprint.arena("average", &slices, Role::State);
    blueprint.borrow(average);
    let expected = "borrowed buffers: 1 and 1 of 3 found, one of parameters and one of gradients expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    Ok(())
}

/// Changes good lanes with `change` and returns the error.
fn refused_lanes(change: impl FnOnce(&mut Vec<Vec<BorrowedTensor>>)) -> String {
    let gpu = gpu();
    let mut lanes = lanes_in_one_pair(&gpu);
    change(&mut lanes);
    let recipe = Recipe::population(vec![Adam::default(); LANES]);
    Optimizer::borrowing_lanes(&gpu, recipe, &lanes).err().map_or("no error".into(), |error| error.to_string())
}

#[test]
fn lanes_that_differ_are_refused_by_name() {
    assert_eq!(refused_lanes(|_| ()), "no error");
    assert_eq!(refused_lanes(|lanes| lanes.clear()), "the list of lanes is empty");
    assert_eq!(refused_lanes(|lanes| drop(lanes.pop())), "lanes of slices: 4 found, 5 expected");
    assert_eq!(refused_lanes(|lanes| drop(lanes[3].pop())), "tensors of lane 3: 8 found, 9 expected");
    let expected = "'tensor 2' of shape [8, 8] expected";
    assert_eq!(
        refused_lanes(|lanes| lanes[1][2].name = "w".into()),
        format!("tensor 2 of lane 1: 'w' of shape [8, 8] found, {expected}")
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[1][2].shape = vec![64]),
        format!("tensor 2 of lane 1: 'tensor 2' of shape [64] found, {expected}")
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[4][0].params.offset += 1),
        "offset of the parameters of tensor 'tensor 0' in lane 4 = 369565 is out of range: a multiple of 4 bytes"
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[2][0].grads = lanes[1][0].grads.clone()),
        "gradients of tensor 'tensor 0' in lane 2: bytes 147816..147820 overlap the gradients of tensor 'tensor 0' in lane 1 found, a slice of \
         its own expected"
    );
}

/// A step needs no copies of slices. Reading and writing them does, and the error says which usage is missing.
#[test]
fn buffers_that_cannot_be_copied_are_stepped_and_not_read() -> Result<()> {
    let gpu = gpu();
    let tensor = |name: &str, usage| {
        let [params, grads] = [(); 2].map(|()| Slice { buffer: buffer(&gpu, 4, usage), offset: 0, len: 4 });
        BorrowedTensor { name: name.into(), shape: vec![4], params, grads }
    };
    let tensors = [tensor("w", wgpu::BufferUsages::STORAGE), tensor("other", USAGE)];
    let mut optimizer = Optimizer::borrowing(&gpu, recipe(), &tensors)?;
    optimizer.step()?;
    assert_eq!(optimizer.params("other")?, [0.0; 4], "it can be read, whatever its neighbour is");
    let lacks =
        |role, usage| format!("{role} of tensor 'w': BufferUsages(STORAGE) found, usage BufferUsages({usage}) expected");
    let says = |result: Result<()>| result.expect_err("no usage").to_string();
    assert_eq!(says(optimizer.set_params("w", &[1.0; 4])), lacks("parameters", "COPY_DST"));
    assert_eq!(says(optimizer.set_grads("w", &[1.0; 4])), lacks("gradients", "COPY_DST"));
    assert_eq!(says(optimizer.params("w").map(drop)), lacks("parameters", "COPY_SRC"));
    assert_eq!(optimizer.report()?.applied, 1);
    Ok(())
}

/// Changes good slices with `change` and returns the error.
fn refused(change: impl FnOnce(&Gpu, &mut Vec<BorrowedTensor>)) -> String {
    let gpu = gpu();
    let mut tensors = in_many_buffers(&gpu);
    change(&gpu, &mut tensors);
    Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string())
}

#[test]
fn bad_slices_are_refused_by_name() {
    assert_eq!(refused(|_, t| t.clear()), "the list of tensors is empty");
    assert_eq!(refused(|_, t| t[2].name = name(1)), "tensor 'tensor 1' is given twice");
    assert_eq!(
        refused(|_, t| t[3].params.offset += 2),
        "offset of the parameters of tensor 'tensor 3' = 2 is out of range: a multiple of 4 bytes"
    );
    assert_eq!(
        refused(|_, t| t[2].grads.len = 70),
        "gradients of tensor 'tensor 2': bytes 16..296 found, at most the 276 bytes of its buffer expected"
    );
    assert_eq!(
        refused(|_, t| t[2].grads.len = 63),
        "gradients of tensor 'tensor 2': 63 found, the elements of shape [8, 8] expected"
    );
    assert_eq!(
        refused(|_, t| t[2].shape[1] = 7),
        "parameters of tensor 'tensor 2': 64 found, the elements of shape [8, 7] expected"
    );
    assert_eq!(
        refused(|_, t| t[0].params.offset = u64::MAX - 3),
        format!(
            "parameters of tensor 'tensor 0': bytes {}..{} found, at most the 24 bytes of its buffer expected",
            u64::MAX - 3,
            u64::MAX
        )
    );
    assert_eq!(
        refused(|_, t| t[0].params.len = 1 << 62),
        format!("parameters of tensor 'tensor 0': bytes 4..{} found, at most the 24 bytes of its buffer expected", u64::MAX)
    );
    let huge = "parameters of tensor 'tensor 0': 1 found, the elements of shape [4294967296, 4294967296] expected";
    assert_eq!(refused(|_, t| t[0].shape = vec![1 << 32; 2]), huge);
    assert_eq!(
        refused(|_, t| {
            let params = t[5].params.clone();
            t[6].params = Slice { offset: params.offset + 4, len: 4097.min(params.len - 1), ..params };
            t[6].grads.len = t[6].params.len;
            t[6].shape = vec![t[6].params.len];
        }),
        "parameters of tensor 'tensor 6': bytes 4..16380 overlap the parameters of tensor 'tensor 5' found, a slice of its own \
         expected"
    );
    assert_eq!(
        refused(|_, t| t[0].grads = t[0].params.clone()),
        "gradients of tensor 'tensor 0': bytes 4..8 overlap the parameters of tensor 'tensor 0' found, a slice of its own expected"
    );
    assert_eq!(
        refused(|gpu, t| t[0].params.buffer = buffer(gpu, 6, wgpu::BufferUsages::COPY_DST)),
        "parameters of tensor 'tensor 0': BufferUsages(COPY_DST) found, a buffer with usage STORAGE expected"
    );
}

#[test]
fn a_buffer_of_another_device_is_refused_by_name() {
    let adapter = thalweg::gpu::adapters().swap_remove(0);
    let open = || pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    let [gpu, other] = [(); 2].map(|()| open()).map(|(device, queue)| Gpu::from_wgpu(device, queue));
    let mut tensors = in_many_buffers(&gpu);
    tensors[1].grads.buffer = buffer(&other, 8, USAGE);
    let error = Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string());
    assert!(error.starts_with("tensor 'tensor 1': "), "{error}");
}

/// Devices that this crate opens share one instance: a buffer of another is found, and nothing of the first is changed.
#[test]
fn a_buffer_of_another_gpu_is_refused_by_name() {
    let [a, b] = [(); 2].map(|()| gpu());
    let own = buffer(&a, 64, USAGE);
    let borrowed = buffer(&b, 64, USAGE);
    let slice = |buffer: &wgpu::Buffer, offset| Slice { buffer: buffer.clone(), offset, len: 1 };
    for (params, grads) in [(&borrowed, &own), (&own, &borrowed), (&borrowed, &borrowed)] {
        let tensor = tensor(0, slice(params, 0), slice(grads, 16));
        let error = Optimizer::borrowing(&a, recipe(), &[tensor]).err().map_or("no error".into(), |error| error.to_string());
        assert!(error.starts_with("tensor 'tensor 0': "), "{error}");
    }
}

/// Different instances use the same numbers for buffers; this buffer has a number that the device's instance never used.
#[test]
fn a_buffer_that_the_instance_does_not_know_is_refused_by_name() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    let other = Gpu::from_wgpu(device, queue);
    let gpu = gpu();
    let mut tensors = in_many_buffers(&gpu);
    let many: Vec<wgpu::Buffer> = (0..1_000).map(|_| buffer(&other, 8, USAGE)).collect();
    tensors[1].grads.buffer = many[999].clone();
    let error = Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string());
    assert_eq!(error, "tensor 'tensor 1': its buffer is of another wgpu instance");
}
