//! Real Redis servers, faults and scenarios: the ground on which romaine is tested.
