//! Windows: slices may lie in any order and at any distance, as far as bindings reach.

use super::*;

/// A binding that, beside another tensor, could reach the first rows of a matrix but not the last.
#[test]
fn a_matrix_that_fits_a_binding_is_reached_in_one_piece() -> Result<()> {
    let gpu = small_gpu();
    let shapes: [(&str, &[usize]); 2] = [("a", &[100]), ("m", &[65, 65])];
    let [params, grads] = [(); 2].map(|()| buffer(&gpu, 9_000, USAGE));
    let slice = |buffer: &wgpu::Buffer, offset, len| Slice { buffer: buffer.clone(), offset, len };
    let tensors: Vec<BorrowedTensor> = shapes
        .iter()
        .zip([0, 16_000])
        .map(|(&(name, shape), offset)| {
            let len = shape.iter().product();
            let [params, grads] = [slice(&params, offset, len), slice(&grads, offset, len)];
            BorrowedTensor { name: name.into(), shape: shape.to_vec(), params, grads }
        })
        .collect();
    let recipe = || Recipe::new(Adafactor { lr: 0.1, ..Default::default() });
    let step = |mut optimizer: Optimizer<GpuProgram>| {
        optimizer.set_params("m", &numbers(1, 65 * 65))?;
        optimizer.set_grads("m", &numbers(2, 65 * 65))?;
        optimizer.step()?;
        optimizer.params("m")
    };
    let found = step(Optimizer::borrowing(&gpu, recipe(), &tensors)?)?;
    assert_same_bits("m", &found, &step(Optimizer::new(&gpu, recipe(), &shapes)?)?);
    Ok(())
}

/// Rules of matrices need each matrix in one piece; other rules take it in as many pieces as necessary.
#[test]
fn a_matrix_beyond_a_binding_is_refused_where_it_has_to_be_in_one_piece() -> Result<()> {
    let gpu = small_gpu();
    let slice = || Slice { buffer: buffer(&gpu, 10_000, USAGE), offset: 0, len: 10_000 };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![100, 100], params: slice(), grads: slice() };
    let over = |recipe| Optimizer::borrowing(&gpu, recipe, std::slice::from_ref(&tensor));
    let message = |recipe| over(recipe).err().map(|error| error.to_string()).unwrap_or_default();
    for (recipe, expected) in [
        (
            Recipe::new(Adafactor::default()),
            "a matrix of 100 × 100 elements of gradients of tensor 'w' needs 40000 bytes in one binding, at most 32768 are allowed here; ",
        ),
        (
            Recipe::new(Muon::default()),
            "the buffer 'matrices' needs 40192 bytes in one binding, at most 32768 are allowed here; ",
        ),
        (
            Recipe::new(Sgd::default()).centralise(),
            "lines of 100 elements of gradients of tensor 'w' needs 40000 bytes in one binding, at most 32768 are allowed here; ",
        ),
    ] {
        let message = message(recipe);
        assert!(message.starts_with(expected), "{message}");
    }
    over(Recipe::new(Adam::default()))?.step()
}

/// The contents of a buffer, which is read as a tensor of its own.
fn contents(gpu: &Gpu, all: &wgpu::Buffer) -> Result<Vec<f32>> {
    let len = all.size() as usize / 4;
    let params = Slice { buffer: all.clone(), offset: 0, len };
    let grads = Slice { buffer: buffer(gpu, len, USAGE), offset: 0, len };
    let look = BorrowedTensor { name: "all".into(), shape: vec![len], params, grads };
    Optimizer::borrowing(gpu, Recipe::new(Sgd::default()), &[look])?.params("all")
}

/// Parameters and gradients, in one buffer or in two, of one lane or of several: all other elements keep their 7.5.
#[test]
fn nothing_beside_the_slices_is_written() -> Result<()> {
    let gpu = gpu();
    for lanes in [vec![in_one_buffer(&gpu)], lanes_in_one_pair(&gpu)] {
        let slices: Vec<&Slice> = lanes.iter().flatten().flat_map(|tensor| [&tensor.params, &tensor.grads]).collect();
        for slice in &slices {
            let filled = vec![7.5f32; slice.buffer.size() as usize / 4];
            gpu.queue().write_buffer(&slice.buffer, 0, bytemuck::cast_slice(&filled));
        }
        let recipe = Recipe::population(vec![Adam::default(); lanes.len()]).centralise().zero_grads().clip_norm(1.0);
        let mut optimizer = Optimizer::borrowing_lanes(&gpu, recipe, &lanes)?;
        for (lane, tensors) in lanes.iter().enumerate() {
            // The gradients differ from element to element, or a matrix would not move.
            for (i, tensor) in tensors.iter().enumerate() {
                optimizer.lane(lane)?.set_grads(&tensor.name, &numbers(i as u64, tensor.grads.len))?;
            }
        }
        optimizer.step()?;
        for all in [&lanes[0][0].params.buffer, &lanes[0][0].grads.buffer] {
            let found = contents(&gpu, all)?;
            let mut inside = vec![false; found.len()];
            for slice in slices.iter().filter(|slice| slice.buffer == *all) {
                inside[slice.offset as usize / 4..][..slice.len].fill(true);
            }
            for (i, (&x, inside)) in found.iter().zip(inside).enumerate() {
                assert_eq!(x != 7.5, inside, "element {i} is {x}");
            }
        }
    }
    Ok(())
}

#[test]
fn dispatches_do_not_grow_with_tensors_in_one_buffer() -> Result<()> {
    let gpu = gpu();
    for (count, len) in [(1, 20_000 * 69), (3, 69), (20_000, 69)] {
        let stride = len + 1;
        let shared = buffer(&gpu, 2 * stride * count, USAGE);
        let slice = |i: usize| Slice { buffer: shared.clone(), offset: (4 * stride * i) as u64, len };
        let tensor = |i| BorrowedTensor { name: name(i), shape: vec![len], params: slice(2 * i), grads: slice(2 * i + 1) };
        let tensors: Vec<BorrowedTensor> = (0..count).map(tensor).collect();
        let optimizer = Optimizer::borrowing(&gpu, recipe(), &tensors)?;
        assert_eq!(optimizer.program().dispatches(PlanId::FIRST), 3, "{count} slices: norm, control, update");
        let names: Vec<String> = (0..count).map(name).collect();
        let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), std::slice::from_ref(&len))).collect();
        let optimizer = Optimizer::new(&gpu, recipe(), &tensors)?;
        assert_eq!(optimizer.program().dispatches(PlanId::FIRST), 3, "{count} tensors: norm, control, update");
    }
    Ok(())
}

/// One tensor after seven steps, with parameters and gradients at these elements of one buffer.
fn placed(gpu: &Gpu, len: usize, places: [usize; 2]) -> Result<(Vec<f32>, usize)> {
    let shared = buffer(gpu, places[0].max(places[1]) + len, USAGE);
    let slice = |at: usize| Slice { buffer: shared.clone(), offset: 4 * at as u64, len };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![len], params: slice(places[0]), grads: slice(places[1]) };
    let optimizer = Optimizer::borrowing(gpu, recipe().zero_grads(), &[tensor])?;
    let dispatches = optimizer.program().dispatches(PlanId::FIRST);
    Ok((trained(optimizer, len)?, dispatches))
}

fn trained(mut optimizer: Optimizer<GpuProgram>, len: usize) -> Result<Vec<f32>> {
    optimizer.set_params("w", &numbers(1, len))?;
    for step in 0..3 {
        optimizer.set_grads("w", &numbers(2 + step, len))?;
        optimizer.step()?;
    }
    let grads = optimizer.grads_buffer();
    assert_eq!(optimizer.program_mut().read(grads, 0)?[..len], vec![0.0; len], "gradients are zeroed");
    optimizer.params("w")
}

/// WebGPU refuses a dispatch whose writable windows overlap after their starts are rounded down. Windows that would overlap are
/// joined.
#[test]
fn parameters_and_gradients_may_touch_at_every_distance() -> Result<()> {
    let gpu = gpu();
    let (len, dispatches) = (4, 3);
    let expected = trained(Optimizer::new(&gpu, recipe().zero_grads(), &[("w", &[len])])?, len)?;
    // The first is the layout of examples/embed_wgpu.rs.
    for gap in (0..=66).chain([127, 128, 1000]) {
        for start in [0, 1, 60, 63, 64, 100] {
            for places in [[start, start + len + gap], [start + len + gap, start]] {
                let (found, launches) = placed(&gpu, len, places)?;
                assert_same_bits(&format!("parameters and gradients at {places:?}"), &found, &expected);
                assert_eq!(launches, dispatches, "{places:?}");
            }
        }
    }
    Ok(())
}

/// All orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..256).map(|code| [code % 4, code / 4 % 4, code / 16 % 4, code / 64]);
    all.filter(|order| (0..4).all(|wanted| order.contains(&wanted))).collect()
}

/// Parameters and gradients of two tensors of two lanes in one buffer, in every order, at every kind of distance. No written
/// window may overlap another: WebGPU would refuse the program.
#[test]
fn slices_may_lie_in_any_order() -> Result<()> {
    let lens = [3, 70];
    let recipe = || Recipe::population([0.1, 0.02].map(|lr| Adam { lr, ..Default::default() })).clip_norm(1.0).zero_grads();
    let run = |mut optimizer: Optimizer<GpuProgram>| -> Result<Vec<Vec<f32>>> {
        let mut found = Vec::new();
        for lane in 0..2 {
            for (i, len) in lens.into_iter().enumerate() {
                optimizer.lane(lane)?.set_params(&name(i), &numbers((10 * lane + i) as u64, len))?;
                optimizer.lane(lane)?.set_grads(&name(i), &numbers((100 + 10 * lane + i) as u64, len))?;
            }
        }
        optimizer.steps(2)?;
        for lane in 0..2 {
            for i in 0..2 {
                found.push(optimizer.lane(lane)?.params(&name(i))?);
            }
        }
        Ok(found)
    };
    for gpu in [gpu(), gpu_with_bindings(64 << 10)] {
        let expected = run(Optimizer::new(&gpu, recipe(), &[("tensor 0", &[lens[0]]), ("tensor 1", &[lens[1]])])?)?;
        for (index, order) in orders().into_iter().enumerate() {
            for gap in [0, 1, 61, 64, 128, 9_000] {
                let shared = buffer(&gpu, 2 * (2 * 73 + 4 * gap) + 64, USAGE);
                let mut at = index % 3 * 31;
                let mut lanes = vec![vec![[0; 2]; 2]; 2];
                for lane in &mut lanes {
                    for which in order {
                        lane[which / 2][which % 2] = at;
                        at += lens[which / 2] + gap;
                    }
                }
                let slice = |at: usize, len| Slice { buffer: shared.clone(), offset: 4 * at as u64, len };
                let tensor = |i: usize, [params, grads]: [usize; 2]| BorrowedTensor {
                    name: name(i),
                    shape: vec![lens[i]],
                    params: slice(params, lens[i]),
                    grads: slice(grads, lens[i]),
                };
                let lanes: Vec<Vec<BorrowedTensor>> =
                    lanes.into_iter().map(|lane| lane.into_iter().enumerate().map(|(i, at)| tensor(i, at)).collect()).collect();
                let found = run(Optimizer::borrowing_lanes(&gpu, recipe(), &lanes)?)?;
                assert_same_arrays(&format!("{order:?}, {gap} between"), &found, &expected);
            }
        }
    }
    Ok(())
}

/// A matrix has to be in one piece, together with the slice that it touches.
#[test]
fn a_matrix_that_touches_its_gradients_says_what_both_take() {
    let gpu = gpu_with_bindings(64 << 10);
    let message = |recipe: Recipe, gap: usize| {
        let shared = buffer(&gpu, 20_000 + gap, USAGE);
        let slice = |at: usize| Slice { buffer: shared.clone(), offset: 4 * at as u64, len: 10_000 };
        let tensor = BorrowedTensor { name: "w".into(), shape: vec![100, 100], params: slice(0), grads: slice(10_000 + gap) };
        Optimizer::borrowing(&gpu, recipe, &[tensor]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (recipe, what) in [
        (Recipe::new(Adafactor::default()), "a matrix of 100 × 100 elements"),
        (Recipe::new(Sgd::default()).centralise(), "lines of 100 elements"),
    ] {
        let expected = format!(
            "{what} of gradients of tensor 'w' with the parameters less than 256 bytes from them needs 80000 bytes in one binding, at \
             most 65536 are allowed here; "
        );
        assert!(message(recipe.clone(), 0).starts_with(&expected), "{}", message(recipe, 0));
        assert_eq!(message(recipe, 64), "", "256 bytes from each other");
    }
}

/// If one binding cannot hold both, buckets are cut until windows do not touch.
#[test]
fn parameters_and_gradients_that_touch_are_cut_where_a_binding_holds_no_both() -> Result<()> {
    let gpu = gpu_with_bindings(64 << 10);
    for len in [4_096, 8_100, 8_192, 10_000, 16_000, 20_000] {
        let expected = trained(Optimizer::new(&gpu, recipe().zero_grads(), &[("w", &[len])])?, len)?;
        for gap in [0, 1, 63, 64, 4_000] {
            for places in [[0, len + gap], [len + gap, 0], [63, len + 63 + gap]] {
                let (found, _) = placed(&gpu, len, places)?;
                assert_same_bits(&format!("{len} elements at {places:?}"), &found, &expected);
            }
        }
    }
    Ok(())
}
