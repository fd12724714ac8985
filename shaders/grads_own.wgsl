// Gradients in an arena: aligned, padded with zeros.
@group(0) @binding(4) var<storage, read_write> grads: array<vec4f>; // len per lane

fn get_grads(i: u32) -> vec4f {
    return grads[i];
}
