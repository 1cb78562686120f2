"""What tests of several folders share: pictures, models, stored photos, samples, servers and browsers."""
