"""tunnel: dials the portal and hands each patient's connection to gateway, unopened. It holds nothing."""
