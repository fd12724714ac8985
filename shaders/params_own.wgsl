// Parameters in an arena: aligned, padded with zeros.
@group(0) @binding(2) var<storage, read> groups: array<u32>; // one per 64 elements of a lane; read where there are several
@group(0) @binding(3) var<storage, read_write> params: array<vec4f>; // len per lane

fn get_params(i: u32) -> vec4f {
    return params[i];
}

fn put_params(i: u32, x: vec4f) {
    params[i] = x;
}

fn group_of(i: u32) -> u32 {
    return groups[op.block + i % op.len / 16u];
}
