//! Buffers of tens of megabytes, in large pages. With small pages, allocating them would take
//! longer than filling them.

/// The size of the processor's large pages.
const LARGE_PAGE: usize = 2 << 20;

/// An empty vector with room for `size` bytes, in large pages if the system has any.
pub fn with_capacity(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(size);
    let room = bytes.spare_capacity_mut().as_mut_ptr_range();
    let start = (room.start as usize).next_multiple_of(LARGE_PAGE);
    let end = room.end as usize / LARGE_PAGE * LARGE_PAGE;
    if start < end {
        // SAFETY: these whole pages are the vector's, and the advice changes nothing in them. If
        // it fails, the pages are small.
        unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_HUGEPAGE) };
    }
    bytes
}

/// A vector of `size` zeros.
pub fn zeros(size: usize) -> Vec<u8> {
    let mut bytes = with_capacity(size);
    bytes.resize(size, 0);
    bytes
}
