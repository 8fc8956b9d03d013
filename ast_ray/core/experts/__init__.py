"""Expert training (Algorithm 1) in pure torch: one network, or several at once on one device."""
