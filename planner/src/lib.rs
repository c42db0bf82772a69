//! Where in a plan farcall's calls happen, and for which rows: LogicalPlan to LogicalPlan.
