"""One model trained by one method with one seed: students, shared starts and teachers alike."""
