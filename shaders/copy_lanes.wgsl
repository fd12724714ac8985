// Lane k takes over the words of lane sources[k], unless that one takes over another lane itself.
// One vec4 per thread; a dispatch covers lanes of one buffer, and the sources among those of the same or of another one.
struct CopyLanes { len: u32, lanes: u32, first: u32, first_source: u32, source_lanes: u32 }
@group(0) @binding(0) var<uniform> op: CopyLanes;

fn moves(lane: u32) -> bool {
    return sources[lane] != lane && sources[lane] < op.lanes;
}

@compute @workgroup_size(256)
fn copy_lanes(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    let lane = op.first + id.z;
    if i >= op.len || !moves(lane) || moves(sources[lane]) {
        return;
    }
    // Below the first one it wraps around and is too large.
    let place = sources[lane] - op.first_source;
    if place < op.source_lanes {
        own[id.z * op.len + i] = taken(place * op.len + i);
    }
}
