import { WalkOfPages } from '../lib/walk';

export default function App({ Component, pageProps }) {
  return (
    <>
      <WalkOfPages />
      <Component {...pageProps} />
    </>
  );
}
